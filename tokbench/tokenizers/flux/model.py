"""FLUX.2's autoencoder (Black Forest Labs 2025): the network of Stable Diffusion, whose latents are read in squares.

    images -> encoder -> quant_conv -> (mean, log-variance) -> latents -> squares of 2x2 as channels -> tokens
    tokens -> latents -> post_quant_conv -> decoder -> images

``bn`` holds the running mean and variance of every channel of a square. Diffusion models read latents normalised by them; tokens here are
not, and ``normalisation`` says the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from tokbench.nn.autoencoder import Decoder, Encoder
from tokbench.tokenizers.flux.config import PATCH, Flux2Config
from tokbench.tokenizers.normalisation import Normalisation, from_batch_norm
from tokbench.tokenizers.vae.latents import GaussianTokenizer
from tokbench.weights.key_maps.diffusers import check_same, check_settings
from tokbench.weights.key_maps.taming import to_taming


class Flux2(GaussianTokenizer):
    """Convolutional tokenizer with continuous latents on a 2D grid.

    Args:
        config: Shape of the network; with ``posterior="sample"`` encoding needs seeds.
    """

    config: Flux2Config
    normalisation_told = True

    def __init__(self, config: Flux2Config) -> None:
        super().__init__()
        self.config = config
        z = config.autoencoder.z_channels
        self.encoder = Encoder(config.autoencoder)
        self.decoder = Decoder(config.autoencoder)
        self.quant_conv = nn.Conv2d(2 * z, 2 * z, 1)
        self.post_quant_conv = nn.Conv2d(z, z, 1)
        self.bn = nn.BatchNorm2d(PATCH**2 * z, eps=1e-4, affine=False)

    @property
    def normalisation(self) -> Normalisation:  # type: ignore[override]  # among its weights
        """The statistics among its weights."""
        return from_batch_norm(self.bn)

    @classmethod
    def own_names(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of latent-diffusion; the published file has the 1x1 convolutions within encoder and decoder, or diffusers' names."""
        return to_taming(state)

    def check_settings(self, settings: Mapping[str, Any], place: Path) -> None:
        """Refuse settings of diffusers that make another network of the same shapes, or other statistics of the same numbers."""
        check_settings(settings, self.config.autoencoder.norm_groups, place)
        if settings.get("_class_name") == "AutoencoderKLFlux2":
            check_same(settings, {"batch_norm_eps": self.bn.eps}, place, "diffusers/flux2")

    def _to_tokens(self, latents: Tensor) -> Tensor:
        return F.pixel_unshuffle(latents, PATCH)

    def _from_tokens(self, latents: Tensor) -> Tensor:
        return F.pixel_shuffle(latents, PATCH)
