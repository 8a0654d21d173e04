"""The variant of DALL-E's discrete VAE."""

from __future__ import annotations

from tokbench.tokenizers.dalle.config import DalleConfig
from tokbench.tokenizers.family import Family, published_variant

FAMILY = Family(
    name="dalle",
    summary="discrete VAE of DALL-E (Ramesh et al. 2021): the code with the highest score",
    model="tokbench.tokenizers.dalle.model:DalleVAE",
    default="dvae",
    variants=(
        published_variant(
            "dalle",
            "dvae",
            DalleConfig(),
            "f8, 8192 codes, published for images of 256 px; give the folder of encoder.pkl and decoder.pkl",
            source="openai/DALL-E: cdn.openai.com/dall-e/encoder.pkl and decoder.pkl, in one folder",
            licence="modified MIT (repository)",
            trained_with=("unknown",),
        ),
    ),
)
