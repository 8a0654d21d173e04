"""Configuration, layout arithmetic and variants of the KL autoencoder; no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tokbench.layout import TokenLayout
from tokbench.nn.configs import AutoencoderConfig
from tokbench.tokenizers.conv_vq_config import TINY_AUTOENCODER
from tokbench.tokenizers.family import Family, Variant, strided_grid


@dataclass(frozen=True)
class VAEConfig:
    """Shape of a KL autoencoder.

    Args:
        autoencoder: The network; ``double_z`` must be set.
        embed_dim: Latent channels.
        posterior: Whether encode returns the posterior's mean or a sample (which needs seeds).
        quant_convs: Whether 1x1 convolutions stand before and after the latents (Flux has none).

    Raises:
        ValueError: If the encoder does not emit mean and log-variance, or the channels do not fit together.
    """

    autoencoder: AutoencoderConfig
    embed_dim: int
    posterior: Literal["mean", "sample"] = "mean"
    quant_convs: bool = True

    def __post_init__(self) -> None:
        if not self.autoencoder.double_z:
            raise ValueError("a KL autoencoder needs autoencoder.double_z=True")
        if self.posterior not in ("mean", "sample"):
            raise ValueError(f"posterior is mean or sample, got {self.posterior!r}")
        if self.embed_dim < 1:
            raise ValueError(f"embed_dim must be positive, got {self.embed_dim}")
        if not self.quant_convs and self.autoencoder.z_channels != self.embed_dim:
            z = self.autoencoder.z_channels
            raise ValueError(f"without quant_convs autoencoder.z_channels ({z}) must equal embed_dim ({self.embed_dim})")


def vae_layout(config: VAEConfig, height: int, width: int) -> TokenLayout:
    """One latent vector per ``stride`` x ``stride`` pixels."""
    return TokenLayout(
        image_size=(height, width),
        grid=strided_grid(height, width, config.autoencoder.stride),
        channels=config.embed_dim,
    )


FAMILY = Family(
    name="vae",
    summary="KL autoencoder (Rombach et al. 2022, latent diffusion): continuous latents",
    model="tokbench.tokenizers.vae.model:VAE",
    layout=vae_layout,
    default="tiny",
    variants=(
        Variant(
            name="tiny",
            config=VAEConfig(replace(TINY_AUTOENCODER, double_z=True), embed_dim=4),
            image_size=64,
            summary="f4, 4 latent channels, for 64 px photos; squared error and a light KL term",
            weights="vae-tiny.safetensors",
            source="trained by tokbench, recipe vae-tiny",
            licence="Apache-2.0",
            trained_with=("data:photos/train",),
        ),
    ),
)
