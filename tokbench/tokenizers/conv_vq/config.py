"""Configuration and layout arithmetic of the convolutional VQ tokenizers; no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from tokbench.configs import UNLESS_DEFAULT
from tokbench.errors import TokbenchError
from tokbench.layout import TokenLayout
from tokbench.nn.configs import AutoencoderConfig
from tokbench.quantizers.configs import AnyQuantizer


@dataclass(frozen=True)
class ConvVQConfig:
    """Shape of a convolutional VQ tokenizer.

    Args:
        autoencoder: The network.
        quantizer: Any of ``tokbench.quantizers.configs``; its weights of losses matter in training only.
        quant_convs: Whether 1x1 convolutions stand before and after the code.
        unit_range: Whether the network sees and makes pixels in [0, 1]; the tokenizer's own are in [-1, 1].

    Raises:
        ValueError: If a codebook has fewer than 2 codes. Or if the quantizer has not as many values as the network's code, although it is
            ``gumbel`` or nothing stands between them.
    """

    autoencoder: AutoencoderConfig
    quantizer: AnyQuantizer
    quant_convs: bool = field(default=True, metadata=UNLESS_DEFAULT)
    unit_range: bool = field(default=False, metadata=UNLESS_DEFAULT)

    def __post_init__(self) -> None:
        if min(self.quantizer.codebook_sizes) < 2:
            raise ValueError(f"a codebook needs at least 2 codes, got {', '.join(map(str, self.quantizer.codebook_sizes))}")
        z = self.autoencoder.z_channels
        if self.quantizer.kind == "gumbel" and self.quantizer.channels != z:
            raise ValueError(f"gumbel needs quantizer.dim equal to autoencoder.z_channels, got {self.quantizer.channels} and {z}")
        if not self.quant_convs and self.quantizer.channels != z:
            values = self.quantizer.channels
            raise ValueError(f"without quant_convs the quantizer's values ({values}) must be as many as autoencoder.z_channels ({z})")

    @property
    def stride(self) -> int:
        """Pixels a position covers along each axis."""
        return self.autoencoder.stride

    def layout(self, height: int, width: int) -> TokenLayout:
        """One position per ``stride`` x ``stride`` pixels, with one code of each codebook; for the design ``magvit2`` at least two."""
        layout = TokenLayout.strided(height, width, self.stride, codebook_sizes=self.quantizer.codebook_sizes)
        if self.autoencoder.design == "magvit2" and layout.positions < 2:
            raise TokbenchError(
                f"image size {height}x{width} is one token, and this network needs the spread of several; use at least {height}x{2 * self.stride}"
            )
        return layout


TINY_AUTOENCODER = AutoencoderConfig(
    z_channels=16,
    channels=32,
    channel_multipliers=(1, 1, 4),
    num_res_blocks=1,
    attn_resolutions=(),
    resolution=64,
    norm_groups=4,
)
"""The 2.5 M parameter network of ``vae/tiny``, ``vqvae/tiny`` and ``vqgan/tiny``: stride 4, for 64 px photos."""
