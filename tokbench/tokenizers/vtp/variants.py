"""Variants of VTP."""

from __future__ import annotations

from dataclasses import replace

from tokbench.nn.configs import ViTConfig
from tokbench.tokenizers.family import Family, Variant, published_variant
from tokbench.tokenizers.normalisation import Normalisation
from tokbench.tokenizers.vtp.config import VTPConfig
from tokbench.tokenizers.vtp.statistics import BASE, LARGE, SMALL


def _published(name: str, size: tuple[int, int, int], file: str, sha256: str, normalisation: Normalisation) -> Variant:
    width, depth, heads = size
    encoder = ViTConfig(width, depth, heads, norm="rms", mlp="swiglu", hidden_multiple=8, norm_first=False)
    return published_variant(
        "vtp",
        name,
        VTPConfig(encoder, replace(encoder, norm="layer", norm_eps=1e-6)),
        f"f16, 64 latent channels, width {width}",
        source=f"MiniMaxAI/{file}; MiniMax-AI/VTP",
        licence="MIT with a clause on large products (repository)",
        trained_with=("unknown",),
        file=f"hf:MiniMaxAI/{file}/model.safetensors",
        sha256=sha256,
        normalisation=normalisation,
    )


FAMILY = Family(
    name="vtp",
    summary="VTP (Yao et al. 2025): a transformer that understands and reconstructs, behind few continuous latents",
    model="tokbench.tokenizers.vtp.model:VTP",
    default="b",
    variants=(
        _published("s", (384, 12, 6), "VTP-Small-f16d64", "5442083e078aadc65e51c7893d10177e360139866d4e09ab955b1c7b563eeaee", SMALL),
        _published("b", (768, 12, 12), "VTP-Base-f16d64", "c7fdbb1507cecbcbb35eab4ea9fcbca8dc80b5e0d64cfe0c37b7baacdbb0fa05", BASE),
        _published("l", (1024, 24, 16), "VTP-Large-f16d64", "de5df2006083a9536c4d3ea36c6ae2181ec604e06550f1b2d7cece3b16aac32f", LARGE),
    ),
)
