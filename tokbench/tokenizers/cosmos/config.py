"""Configuration of Cosmos-Tokenizer's networks; no torch."""

from __future__ import annotations

from dataclasses import dataclass

from tokbench.layout import TokenLayout
from tokbench.nn.configs import AutoencoderConfig


@dataclass(frozen=True)
class CosmosCIConfig:
    """Shape of a continuous one, whose latents are what the encoder gives, without a posterior.

    Args:
        autoencoder: The network.
        latent_channels: Values of a latent.

    Raises:
        ValueError: If the network emits a variance (then it is a ``VAEConfig``), its design is ``magvit2``, or a latent has no values.
    """

    autoencoder: AutoencoderConfig
    latent_channels: int = 16

    def __post_init__(self) -> None:
        self.autoencoder.check_design()
        if self.autoencoder.double_z:
            raise ValueError("latents without a posterior need autoencoder.double_z=False")
        if self.latent_channels < 1:
            raise ValueError(f"latent_channels must be positive, got {self.latent_channels}")

    @property
    def stride(self) -> int:
        """Pixels a latent covers along each axis."""
        return self.autoencoder.stride

    def layout(self, height: int, width: int) -> TokenLayout:
        """One latent vector per ``stride`` x ``stride`` pixels."""
        return TokenLayout.strided(height, width, self.stride, channels=self.latent_channels)


def cosmos_autoencoder(z_channels: int, compression: int) -> AutoencoderConfig:
    """The published network: patches of 4 pixels, three levels, and as many halvings as the compression, 8 or 16, still needs."""
    return AutoencoderConfig(
        z_channels,
        channel_multipliers=(2, 4, 4),
        attn_resolutions=(32,),
        resolution=1024,
        patch=4,
        halvings={8: 1, 16: 2}[compression],
    )
