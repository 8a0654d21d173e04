"""Variants of SoftVQ-VAE. Of those that are published, one has its settings published too."""

from __future__ import annotations

from tokbench.nn.configs import ViTConfig
from tokbench.tokenizers.family import Family, published_variant
from tokbench.tokenizers.softvq.config import SoftVQConfig

LARGE = ViTConfig(1024, depth=24, heads=16, norm_eps=1e-6, norm_first=False, layer_scale=True)
"""DINOv2's transformer of letter L, with 16 px patches."""

FAMILY = Family(
    name="softvq",
    summary="SoftVQ-VAE (Chen et al. 2024): transformers around a short sequence of mixtures of codes",
    model="tokbench.tokenizers.softvq.model:SoftVQ",
    default="l-64",
    variants=(
        published_variant(
            "softvq",
            "l-64",
            SoftVQConfig(LARGE, LARGE, length=64),
            "64 latents of 32 values, published for ImageNet at 256 px; that its file has the settings of its training is unverified",
            source="SoftVQVAE/softvq-l-64; Hhhhhhao/continuous_tokenizer, configs/softvq-l-64.yaml",
            licence="not stated (repository)",
            trained_with=("data:imagenet/train", "lpips-vgg", "dinov2"),
            file="hf:SoftVQVAE/softvq-l-64/model.safetensors",
        ),
    ),
)
