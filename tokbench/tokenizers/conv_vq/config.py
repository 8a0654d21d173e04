"""Configuration and layout arithmetic of the convolutional VQ tokenizers; no torch."""

from __future__ import annotations

from dataclasses import dataclass

from tokbench.layout import TokenLayout
from tokbench.nn.configs import AutoencoderConfig
from tokbench.quantizers.configs import AnyQuantizer


@dataclass(frozen=True)
class ConvVQConfig:
    """Shape of a convolutional VQ tokenizer.

    Args:
        autoencoder: The network.
        quantizer: Any of ``tokbench.quantizers.configs``; its weights of losses matter in training only.

    Raises:
        ValueError: If a codebook has fewer than 2 codes, or the quantizer is ``gumbel`` and has not as many values as the network's code.
    """

    autoencoder: AutoencoderConfig
    quantizer: AnyQuantizer

    def __post_init__(self) -> None:
        if min(self.quantizer.codebook_sizes) < 2:
            raise ValueError(f"a codebook needs at least 2 codes, got {', '.join(map(str, self.quantizer.codebook_sizes))}")
        z = self.autoencoder.z_channels
        if self.quantizer.kind == "gumbel" and self.quantizer.channels != z:
            raise ValueError(f"gumbel needs quantizer.dim equal to autoencoder.z_channels, got {self.quantizer.channels} and {z}")

    @property
    def stride(self) -> int:
        """Pixels a position covers along each axis."""
        return self.autoencoder.stride

    def layout(self, height: int, width: int) -> TokenLayout:
        """One position per ``stride`` x ``stride`` pixels, with one code of each codebook."""
        return TokenLayout.strided(height, width, self.stride, codebook_sizes=self.quantizer.codebook_sizes)


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
