"""Variants of VQGAN."""

from __future__ import annotations

from tokbench.tokenizers.conv_vq_config import TINY_AUTOENCODER, ConvVQConfig, conv_vq_layout
from tokbench.tokenizers.family import Family, Variant

FAMILY = Family(
    name="vqgan",
    summary="VQGAN (Esser et al. 2021): perceptual and adversarial losses",
    model="tokbench.tokenizers.vqgan.model:VQGAN",
    layout=conv_vq_layout,
    default="tiny",
    variants=(
        Variant(
            name="tiny",
            config=ConvVQConfig(TINY_AUTOENCODER, codebook_size=1024, embed_dim=16, loss_form="commitment"),
            image_size=64,
            summary="f4, 1024 codes, for 64 px photos; started from vqvae/tiny, then LPIPS and PatchGAN",
            weights="vqgan-tiny.safetensors",
            source="trained by tokbench, recipe vqgan-tiny",
            licence="Apache-2.0",
            trained_with=("data:photos/train", "lpips-vgg"),
        ),
    ),
)
