"""Variants of l-DeTok."""

from __future__ import annotations

from tokbench.nn.configs import ViTConfig
from tokbench.tokenizers.detok.config import DeTokConfig
from tokbench.tokenizers.family import Family, Variant, published_variant
from tokbench.tokenizers.normalisation import DETOK_STATISTICS

BASE = ViTConfig(768, depth=12, heads=12, norm_eps=1e-6, norm="rms", mlp="swiglu")
"""The two sides of the published networks, letter B."""


def _published(name: str, summary: str, file: str, *, figures: bool = False) -> Variant:
    return published_variant(
        "detok",
        name,
        DeTokConfig(BASE, BASE),
        f"f16, 16 latent channels, {summary}",
        source=f"jjiaweiyang/l-DeTok, {file}",
        licence="MIT (repository)",
        trained_with=("data:imagenet/train", "lpips-vgg", "convnext-small"),
        file=f"hf:jjiaweiyang/l-DeTok/{file}",
        beside=DETOK_STATISTICS,
        figures=figures,
    )


FAMILY = Family(
    name="detok",
    summary="l-DeTok (Yang et al. 2025): transformers around latents that were trained to be denoised",
    model="tokbench.tokenizers.detok.model:DeTok",
    default="bb-decoder",
    variants=(
        _published("bb", "published for ImageNet at 256 px", "detok-BB-gamm3.0-m0.7.pth"),
        _published(
            "bb-decoder", "the same encoder, with a decoder tuned on clean latents", "detok-BB-gamm3.0-m0.7-decoder_tuned.pth", figures=True
        ),
    ),
)
