"""KL autoencoder. Papers: Kingma and Welling 2014 (VAE); Rombach et al. 2022, "High-Resolution Image Synthesis with Latent
Diffusion Models", appendix G.

    images -> encoder -> quant_conv -> (mean, log-variance) -> latents -> post_quant_conv -> decoder -> images

Parameter names are those of CompVis/latent-diffusion ``ldm/models/autoencoder.py``; files of diffusers are renamed on reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from tokbench.nn.autoencoder import Decoder, Encoder
from tokbench.nn.posterior import Posterior
from tokbench.tokenizers.normalisation import Normalisation
from tokbench.tokenizers.vae.latents import GaussianTokenizer
from tokbench.tokenizers.vae.variants import VAEConfig
from tokbench.tracing import graph_value
from tokbench.weights.key_maps.diffusers import check_settings
from tokbench.weights.key_maps.taming import to_taming

TEACHERS = ("foundation_model.", "linear_proj.")
"""Beginnings of names in VA-VAE's file: the network that its latents were aligned with, and the layer between them."""


@graph_value
@dataclass(frozen=True)
class VAEReconstruction:
    """One training pass: the decoded images and the posterior they were drawn from."""

    images: Float[Tensor, "b 3 h w"]
    posterior: Posterior


class VAE(GaussianTokenizer):
    """Convolutional tokenizer with continuous latents on a 2D grid.

    Args:
        config: Shape of the network; with ``posterior="sample"`` encoding needs seeds.
    """

    config: VAEConfig
    peers = ("AutoencoderKL",)
    encoder: Encoder
    decoder: Decoder

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self._normalisation: Normalisation | None = None
        z, latent = config.autoencoder.z_channels, config.embed_dim
        self.encoder = Encoder(config.autoencoder)
        self.decoder = Decoder(config.autoencoder)
        self.quant_conv = nn.Conv2d(2 * z, 2 * latent, 1) if config.quant_convs else nn.Identity()
        self.post_quant_conv = nn.Conv2d(latent, z, 1) if config.quant_convs else nn.Identity()

    @property
    def normalisation(self) -> Normalisation | None:
        """That of its row, unless its tokens are scaled already."""
        return None if self.config.scaled else self._normalisation

    @normalisation.setter
    def normalisation(self, value: Normalisation | None) -> None:
        self._normalisation = value

    @classmethod
    def own_names(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of latent-diffusion; a published file may have the names of diffusers, and what its training compared latents with."""
        return {key: value for key, value in to_taming(state).items() if not key.startswith(TEACHERS)}

    def check_settings(self, settings: Mapping[str, Any], place: Path) -> None:
        """Refuse settings of diffusers that make another network of the same shapes."""
        check_settings(settings, self.config.autoencoder.norm_groups, place)

    def forward(self, images: Float[Tensor, "b 3 h w"], noise: Float[Tensor, "b c h2 w2"]) -> VAEReconstruction:
        """Encode, sample and decode, for training.

        Args:
            images: RGB in [-1, 1].
            noise: Standard normal, of the latents' shape.
        """
        posterior = self.posterior(images)
        latents = posterior.sample(noise).to(images.dtype)  # the posterior is in single precision at least
        return VAEReconstruction(self.decoder(self.post_quant_conv(latents)), posterior)

    def _to_tokens(self, latents: Tensor) -> Tensor:
        return (latents - self.config.latent_shift) * self.config.latent_scale

    def _from_tokens(self, latents: Tensor) -> Tensor:
        return latents / self.config.latent_scale + self.config.latent_shift
