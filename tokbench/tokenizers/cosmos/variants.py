"""Variants of Cosmos-Tokenizer for images."""

from __future__ import annotations

from tokbench.quantizers.configs import FSQ
from tokbench.tokenizers.conv_vq.config import ConvVQConfig
from tokbench.tokenizers.cosmos.config import CosmosCIConfig, cosmos_autoencoder
from tokbench.tokenizers.family import Family, Variant

LEVELS = FSQ((8, 8, 8, 5, 5, 5))
"""64000 codes."""


def _published(kind: str, compression: int) -> Variant:
    name = f"{kind}{compression}x{compression}"
    if kind == "di":
        config: ConvVQConfig | CosmosCIConfig = ConvVQConfig(cosmos_autoencoder(256, compression), LEVELS)
    else:
        config = CosmosCIConfig(cosmos_autoencoder(16, compression))
    what = "64000 codes of 6 channels of levels" if kind == "di" else "16 latent channels"
    repository = f"nvidia/Cosmos-0.1-Tokenizer-{name.upper().replace('X', 'x')}"
    return Variant(
        name=name,
        config=config,
        image_size=1024,
        summary=f"f{compression}, {what}, published for images of 512 px and more; computes in bfloat16 there",
        source=repository,
        licence="NVIDIA Open Model License (model card)",
        trained_with=("unknown",),
        file=f"hf:{repository}/autoencoder.jit",
        published="cosmos/di16x16" if name == "di16x16" else None,
    )


FAMILY = Family(
    name="cosmos",
    summary="Cosmos-Tokenizer (NVIDIA 2024): VQGAN's network on a Haar transform, latents or finite scalar codes",
    model="tokbench.tokenizers.cosmos.model:cosmos",
    default="di16x16",
    variants=tuple(_published(kind, compression) for kind in ("ci", "di") for compression in (8, 16)),
)
