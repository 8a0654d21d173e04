"""Variants of VQ-VAE."""

from __future__ import annotations

from tokbench.quantizers.configs import VQ
from tokbench.tokenizers.conv_vq.config import TINY_AUTOENCODER, ConvVQConfig
from tokbench.tokenizers.family import Family, Variant

FAMILY = Family(
    name="vqvae",
    summary="VQ-VAE (van den Oord et al. 2017): squared error, codebook by moving averages",
    model="tokbench.tokenizers.vqvae.model:VQVAE",
    default="tiny",
    variants=(
        Variant(
            name="tiny",
            config=ConvVQConfig(TINY_AUTOENCODER, VQ(1024, 16, loss_form="commitment")),
            image_size=64,
            summary="f4, 1024 codes, for 64 px photos; squared error only",
            weights="vqvae-tiny.safetensors",
            source="trained by tokbench, recipe vqvae-tiny",
            licence="Apache-2.0",
            trained_with=("data:photos/train",),
        ),
    ),
)
