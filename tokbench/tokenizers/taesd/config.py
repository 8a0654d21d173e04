"""Configuration and layout arithmetic of TAESD; no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from tokbench.configs import UNLESS_DEFAULT
from tokbench.layout import TokenLayout


@dataclass(frozen=True)
class TAESDConfig:
    """Shape of a tiny autoencoder.

    Args:
        z_channels: Latent channels.
        widths: Channels of every level, highest resolution first; the stride is ``2 ** (levels - 1)``.
        blocks: Residual blocks of every level of the encoder; the decoder has as many in the order it runs, see ``decoder_blocks``.
        pooled: Whether blocks of the lowest level have a second branch of 1x1 convolutions (taef2).
        stem: Channels of convolutions that halve images before the encoder's first level, which then has no convolution (taesana).
        up_widths: Channels of every level of the decoder, lowest resolution first, where they are not those of the encoder.
        up_blocks: Residual blocks of those levels, likewise.

    Raises:
        ValueError: If a number is not positive, widths and blocks are not as many, or the decoder does not make images of their size again.
    """

    z_channels: int = 4
    widths: tuple[int, ...] = (64, 64, 64, 64)
    blocks: tuple[int, ...] = (1, 3, 3, 3)
    pooled: bool = field(default=False, metadata=UNLESS_DEFAULT)
    stem: tuple[int, ...] = field(default=(), metadata=UNLESS_DEFAULT)
    up_widths: tuple[int, ...] = field(default=(), metadata=UNLESS_DEFAULT)
    up_blocks: tuple[int, ...] = field(default=(), metadata=UNLESS_DEFAULT)

    def __post_init__(self) -> None:
        numbers = (self.z_channels, *self.widths, *self.blocks, *self.stem, *self.up_widths, *self.up_blocks)
        if not self.widths or min(numbers) < 1:
            raise ValueError(f"latents, widths and blocks must be positive, got {self}")
        if len(self.widths) != len(self.blocks) or len(set(self.widths)) > 1:
            raise ValueError(f"there is one number of blocks a level, and all levels are equally wide, got {self.widths} and {self.blocks}")
        if self.stem and self.stem[-1] != self.widths[0]:
            raise ValueError(f"stem ends with the channels of the first level, {self.widths[0]}, got {self.stem}")
        if not len(self.decoder_widths) == len(self.decoder_blocks) == len(self.stem) + len(self.widths):
            raise ValueError(
                f"up_widths and up_blocks have one number for each of the {len(self.stem) + len(self.widths)} sizes that images go "
                f"through, got {self.up_widths} and {self.up_blocks}"
            )

    @property
    def decoder_widths(self) -> tuple[int, ...]:
        """Channels of the decoder's levels, lowest resolution first."""
        return self.up_widths or self.widths[::-1]

    @property
    def decoder_blocks(self) -> tuple[int, ...]:
        """Residual blocks of the decoder's levels, lowest resolution first."""
        return self.up_blocks or self.blocks[::-1]

    @property
    def stride(self) -> int:
        """Pixels a latent covers along each axis."""
        return 2 ** (len(self.stem) + len(self.widths) - 1)

    def layout(self, height: int, width: int) -> TokenLayout:
        """One latent vector per ``stride`` x ``stride`` pixels."""
        return TokenLayout.strided(height, width, self.stride, channels=self.z_channels)
