"""Variants of SoftVQ-VAE. Of one the settings are published; the others are named by what differs. Means and deviations of latents are those of
their experiments in continuous_tokenizer ``utils/model.py``.
"""

from __future__ import annotations

from dataclasses import replace

from tokbench.nn.configs import ViTConfig
from tokbench.tokenizers.family import Family, Variant, published_variant
from tokbench.tokenizers.normalisation import Normalisation
from tokbench.tokenizers.softvq.config import SoftVQConfig

LARGE = ViTConfig(1024, depth=24, heads=16, norm_eps=1e-6, norm_first=False, layer_scale=True)
"""DINOv2's transformer of letter L, with 16 px patches."""

BASE = replace(LARGE, width=768, depth=12, heads=12)
"""That of letter B."""

SIDES = {"b": (BASE, BASE), "bl": (BASE, LARGE), "l": (LARGE, LARGE)}
"""Encoder and decoder by the letters of a name."""


def _published(name: str, mean: float, std: float, doubt: str, *, image_size: int = 256) -> Variant:
    letters, length = name.split("-")[:2]
    channels = 2048 // int(length)  # 64 values where there are 32 latents
    return published_variant(
        "softvq",
        name,
        SoftVQConfig(*SIDES[letters], length=int(length), channels=channels, image_size=image_size),
        f"{length} latents of {channels} values, published for ImageNet at {image_size} px{doubt}",
        image_size=image_size,
        source=f"SoftVQVAE/softvq-{name}; Hhhhhhao/continuous_tokenizer, configs/softvq-l-64.yaml",
        licence="not stated (repository; its model class says Apache-2.0)",
        trained_with=("data:imagenet/train", "lpips-vgg", "dinov2"),
        file=f"hf:SoftVQVAE/softvq-{name}/model.safetensors",
        normalisation=Normalisation((mean,), (std,)),
    )


UNVERIFIED = "; settings unverified, taken from l-64 and its name"

FAMILY = Family(
    name="softvq",
    summary="SoftVQ-VAE (Chen et al. 2024): transformers around a short sequence of mixtures of codes",
    model="tokbench.tokenizers.softvq.model:SoftVQ",
    default="l-64",
    variants=(
        _published("l-64", 0.0009714666, 0.07259091, ""),
        _published("bl-64", -0.00077168207, 0.07157949, UNVERIFIED),
        _published("b-64", -0.003192751, 0.07235257, UNVERIFIED),
        _published("l-32", 0.00060894643, 0.029030401, UNVERIFIED),
        _published("bl-32", 0.0010870857, 0.028672216, UNVERIFIED),
        _published("b-32", -0.0001770356, 0.029009325, UNVERIFIED),
        _published("bl-64-512", -0.0021498345, 0.073663734, UNVERIFIED, image_size=512),
        _published("l-32-512", -0.0011922447, 0.028908715, UNVERIFIED, image_size=512),
    ),
)
