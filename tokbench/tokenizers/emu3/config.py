"""Configuration and layout arithmetic of the Emu3 vision tokenizer; no torch."""

from __future__ import annotations

from dataclasses import dataclass

from tokbench.layout import TokenLayout
from tokbench.nn.configs import AutoencoderConfig


@dataclass(frozen=True)
class Emu3Config:
    """Shape of an Emu3 vision tokenizer.

    Args:
        autoencoder: The network within a frame; ``z_channels`` is the dimension of a code vector too.
        codebook_size: K, entries of the codebook.
        frames: Frames of a clip that become one plane of tokens, a power of two; a still is a clip of that many copies.
        attention_heads: Heads of every attention.

    Raises:
        ValueError: If the codebook has fewer than 2 entries, or frames is no power of two. If the autoencoder emits a variance or has no
            attention in its middle, or heads do not divide a width that has attention.
    """

    autoencoder: AutoencoderConfig
    codebook_size: int
    frames: int = 4
    attention_heads: int = 1

    def __post_init__(self) -> None:
        network, heads = self.autoencoder, self.attention_heads
        if self.codebook_size < 2:
            raise ValueError(f"a codebook needs at least 2 entries, got {self.codebook_size}")
        if self.frames < 1 or self.frames & (self.frames - 1):
            raise ValueError(f"frames must be a power of two, got {self.frames}")
        if network.double_z or not network.mid_attention:
            raise ValueError("this tokenizer needs autoencoder.double_z=False and autoencoder.mid_attention=True")
        attended = [width for level, width in enumerate(network.widths) if network.has_attention(level)]
        if heads < 1 or any(width % heads for width in (*attended, network.widths[-1])):
            raise ValueError(f"attention_heads must divide the widths that have attention, got {heads} for widths {network.widths}")

    @property
    def stride(self) -> int:
        """Pixels a token covers along each axis."""
        return self.autoencoder.stride

    def layout(self, height: int, width: int) -> TokenLayout:
        """One token per ``stride`` x ``stride`` pixels, from one codebook."""
        return TokenLayout.strided(height, width, self.stride, codebook_sizes=(self.codebook_size,))


PUBLISHED_AUTOENCODER = AutoencoderConfig(
    z_channels=4,
    channels=256,
    channel_multipliers=(1, 2, 2, 4),
    num_res_blocks=2,
    attn_resolutions=(32,),
    resolution=256,
)
"""The published network: stride 8, attention at the lowest level, whatever the size of the image."""
