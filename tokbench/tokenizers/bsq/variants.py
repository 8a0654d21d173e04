"""Variants of BSQ-ViT."""

from __future__ import annotations

from tokbench.nn.configs import ViTConfig
from tokbench.quantizers.configs import BSQ
from tokbench.tokenizers.bsq.config import BSQViTConfig
from tokbench.tokenizers.family import Family, Variant

BASE = ViTConfig(width=768, depth=12, heads=12, patch_size=8)
"""The two sides of the published networks."""

GROUPED = BSQ(18, entropy_form="group", group_size=9)


def _published(name: str, quantizer: BSQ, summary: str, file: str, *, image_size: int = 256, figures: bool = True) -> Variant:
    return Variant(
        name=name,
        config=BSQViTConfig(BASE, BASE, quantizer, image_size),
        image_size=image_size,
        summary=f"f8, {summary}, published for ImageNet at {image_size} px",
        source=f"zhaoyue-zephyrus/bsq-vit, {file}",
        licence="MIT (repository)",
        trained_with=("data:imagenet/train", "lpips-vgg", "unknown"),
        published=f"bsq/{name}" if figures else None,
    )


FAMILY = Family(
    name="bsq",
    summary="BSQ-ViT (Zhao et al. 2024): transformers around the signs of vectors on a sphere",
    model="tokbench.tokenizers.bsq.model:BSQViT",
    default="b18g18",
    variants=(
        _published("b18g18", BSQ(18, entropy_form="analytical"), "18 bits, entropy bit by bit", "utexas.box.com nt9g741b1cu4"),
        _published(
            "b18g2", GROUPED, "18 bits, entropy in 2 groups; that its file is this one is unverified", "utexas.box.com k5249jg1c6iz"
        ),
        _published(
            "b36g36", BSQ(36, 2, entropy_form="analytical"), "36 bits in 2 codes, entropy bit by bit", "utexas.box.com a7w3lw5q4dzx"
        ),
        _published(
            "b18g2-128",
            GROUPED,
            "18 bits, entropy in 2 groups; no file is linked",
            "imagenet_128x128_bsqvit_stylegan_f8_fp16.yaml",
            image_size=128,
            figures=False,
        ),
    ),
)
