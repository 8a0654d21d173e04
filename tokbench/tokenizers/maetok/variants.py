"""Variants of MAETok. Their settings are those that training was published with."""

from __future__ import annotations

from dataclasses import replace

from tokbench.tokenizers.family import Family, Variant, published_variant
from tokbench.tokenizers.maetok.config import MAETokConfig
from tokbench.tokenizers.softvq.variants import BASE

SHAPE = MAETokConfig(BASE, replace(BASE, layer_scale=False), length=128)


def _published(name: str, image_size: int) -> Variant:
    return published_variant(
        "maetok",
        name,
        replace(SHAPE, image_size=image_size),
        f"128 latents of 32 values, published for ImageNet at {image_size} px; settings unverified, taken from those of training",
        image_size=image_size,
        source=f"MAETok/maetok-{name}; Hhhhhhao/continuous_tokenizer, configs/maetok-b-64.yaml",
        licence="not stated (repository; its model class says Apache-2.0)",
        trained_with=("data:imagenet/train", "lpips-vgg", "dinov2", "siglip"),
        file=f"hf:MAETok/maetok-{name}/model.safetensors",
    )


FAMILY = Family(
    name="maetok",
    summary="MAETok (Chen et al. 2025): transformers around a short sequence of latents, trained to fill masked images",
    model="tokbench.tokenizers.maetok.model:MAETok",
    default="b-128",
    variants=(_published("b-128", 256), _published("b-128-512", 512)),
)
