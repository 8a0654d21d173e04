"""Configuration and layout arithmetic of l-DeTok; no torch."""

from __future__ import annotations

from dataclasses import dataclass

from tokbench.layout import TokenLayout, check_one_size
from tokbench.nn.configs import ViTConfig, check_turned
from tokbench.tokenizers.vae.config import PosteriorForm, check_posterior


@dataclass(frozen=True)
class DeTokConfig:
    """Shape of an l-DeTok.

    Args:
        encoder: The transformer that sees patches.
        decoder: The transformer that makes them; its patches are the encoder's.
        channels: Values of a patch's latent.
        posterior: Whether encode returns the posterior's mean or a sample (which needs seeds).
        image_size: Side of the square images in pixels.

    Raises:
        ValueError: If patches of both sides are not of one size, or do not fill the image. Also if there are no channels, or the channels of
            a head cannot be shared by rows and columns.
    """

    encoder: ViTConfig
    decoder: ViTConfig
    channels: int = 16
    posterior: PosteriorForm = "mean"
    image_size: int = 256

    def __post_init__(self) -> None:
        check_turned(self.encoder, self.decoder)
        if self.channels < 1:
            raise ValueError(f"channels must be positive, got {self.channels}")
        check_posterior(self.posterior)
        self.encoder.grid(self.image_size)

    @property
    def stride(self) -> int:
        """Pixels of a patch along each axis."""
        return self.encoder.patch_size

    def layout(self, height: int, width: int) -> TokenLayout:
        """One latent a patch, for images of one size."""
        check_one_size(height, width, self.image_size, model="l-DeTok")
        return TokenLayout.strided(height, width, self.stride, channels=self.channels)
