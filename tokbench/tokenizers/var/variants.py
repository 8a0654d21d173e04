"""Variants of VAR's tokenizer."""

from __future__ import annotations

from dataclasses import replace

from tokbench.nn.configs import AutoencoderConfig
from tokbench.quantizers.configs import VQ
from tokbench.tokenizers.family import Family, Variant
from tokbench.tokenizers.multiscale.config import MultiScaleConfig

PUBLISHED = MultiScaleConfig(
    AutoencoderConfig(32, channels=160),
    VQ(4096, 32),
    scales=(1, 2, 3, 4, 5, 6, 8, 10, 13, 16),
    blends=4,
    code_kernel=3,
)
"""The published network, for 256 px."""

AT_256 = Variant(
    name="ch160",
    config=PUBLISHED,
    image_size=256,
    summary="f16, 10 scales of 1 to 16, 4096 codes, published for ImageNet at 256 px",
    source="FoundationVision/VAR, vae_ch160v4096z32.pth",
    licence="MIT (repository)",
    file="hf:FoundationVision/var/vae_ch160v4096z32.pth",
    trained_with=("data:openimages/train", "lpips-vgg", "unknown"),
    published="var/ch160",
)

FAMILY = Family(
    name="var",
    summary="VAR (Tian et al. 2024): multi-scale residual codes, coarse to fine, that decode from any number of scales",
    model="tokbench.tokenizers.var.model:VAR",
    default="ch160",
    variants=(
        AT_256,
        replace(
            AT_256,
            name="ch160-512",
            config=replace(PUBLISHED, scales=(1, 2, 3, 4, 6, 9, 13, 18, 24, 32)),
            image_size=512,
            summary="the same weights with 10 scales of 1 to 32, for 512 px; that they are the same is unverified",
            published=None,
        ),
    ),
)
