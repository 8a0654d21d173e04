"""Variants of FLUX.2's autoencoder; that of FLUX.1 is ``vae/flux``."""

from __future__ import annotations

from dataclasses import replace

from tokbench.tokenizers.family import Family, published_variant
from tokbench.tokenizers.flux.config import Flux2Config
from tokbench.tokenizers.vae.variants import STABLE_DIFFUSION

FAMILY = Family(
    name="flux",
    summary="autoencoder of FLUX.2 (Black Forest Labs 2025): continuous latents in squares, normalised by statistics of its own",
    model="tokbench.tokenizers.flux.model:Flux2",
    default="2",
    variants=(
        published_variant(
            "flux",
            "2",
            Flux2Config(replace(STABLE_DIFFUSION, z_channels=32)),
            "f16, 128 channels: squares of 2x2 latents of f8 with 32 channels; f8 FLUX.1 is vae/flux",
            source="black-forest-labs/FLUX.2-dev, ae.safetensors; its training is not published",
            licence="Apache-2.0 (repository, of the autoencoder alone)",
            trained_with=(),
            file="hf:black-forest-labs/FLUX.2-dev/ae.safetensors",
        ),
    ),
)
