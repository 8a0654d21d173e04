"""Variants of the Emu3 vision tokenizer."""

from __future__ import annotations

from tokbench.tokenizers.emu3.config import PUBLISHED_AUTOENCODER, Emu3Config
from tokbench.tokenizers.family import Family, Variant

FAMILY = Family(
    name="emu3",
    summary="Emu3 vision tokenizer (Wang et al. 2024): MoVQ autoencoder with layers over time, on stills",
    model="tokbench.tokenizers.emu3.model:Emu3",
    default="vision",
    variants=(
        Variant(
            name="vision",
            config=Emu3Config(PUBLISHED_AUTOENCODER, codebook_size=32768),
            image_size=512,  # the smallest that the published preprocessing makes of an image
            summary="f8, 32768 codes of 4 values, published for images of 512 px and more and for video",
            source="BAAI/Emu3-VisionTokenizer",
            licence="Apache-2.0 (model card)",
            file="hf:BAAI/Emu3-VisionTokenizer/model.safetensors",
            trained_with=("data:laion-high-resolution", "data:internvid", "lpips-vgg"),
        ),
    ),
)
