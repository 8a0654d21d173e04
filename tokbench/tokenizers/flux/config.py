"""Configuration and layout arithmetic of FLUX.2's autoencoder; no torch."""

from __future__ import annotations

from dataclasses import dataclass

from tokbench.layout import TokenLayout
from tokbench.nn.configs import AutoencoderConfig
from tokbench.tokenizers.vae.config import PosteriorForm, check_posterior

PATCH = 2
"""Side of the squares of latents that become one position."""


@dataclass(frozen=True)
class Flux2Config:
    """Shape of an autoencoder of FLUX.2.

    Args:
        autoencoder: The network; ``double_z`` must be set.
        posterior: Whether encode returns the posterior's mean or a sample (which needs seeds).

    Raises:
        ValueError: If the encoder does not emit mean and log-variance, its design is ``magvit2``, or the posterior is neither.
    """

    autoencoder: AutoencoderConfig
    posterior: PosteriorForm = "mean"

    def __post_init__(self) -> None:
        self.autoencoder.check_design()
        if not self.autoencoder.double_z:
            raise ValueError("a KL autoencoder needs autoencoder.double_z=True")
        check_posterior(self.posterior)

    @property
    def stride(self) -> int:
        """Pixels a position covers along each axis: those of a square of latents."""
        return PATCH * self.autoencoder.stride

    def layout(self, height: int, width: int) -> TokenLayout:
        """One vector per ``stride`` x ``stride`` pixels, of all latents in a square."""
        return TokenLayout.strided(height, width, self.stride, channels=PATCH**2 * self.autoencoder.z_channels)
