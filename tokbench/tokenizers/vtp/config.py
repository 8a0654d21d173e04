"""Configuration and layout arithmetic of VTP; no torch."""

from __future__ import annotations

from dataclasses import dataclass

from tokbench.layout import TokenLayout
from tokbench.nn.configs import ViTConfig, check_turned


@dataclass(frozen=True)
class VTPConfig:
    """Shape of a VTP.

    Args:
        encoder: The transformer that sees patches.
        decoder: The transformer that makes them; its patches are the encoder's.
        channels: Values of a patch's latent.

    Raises:
        ValueError: If patches of both sides are not of one size, there are no channels, or the channels of a head cannot be shared by rows
            and columns.
    """

    encoder: ViTConfig
    decoder: ViTConfig
    channels: int = 64

    def __post_init__(self) -> None:
        check_turned(self.encoder, self.decoder)
        if self.channels < 1:
            raise ValueError(f"channels must be positive, got {self.channels}")

    @property
    def stride(self) -> int:
        """Pixels of a patch along each axis."""
        return self.encoder.patch_size

    def layout(self, height: int, width: int) -> TokenLayout:
        """One latent a patch."""
        return TokenLayout.strided(height, width, self.stride, channels=self.channels)
