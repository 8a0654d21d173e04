"""Variants of FlowMo."""

from __future__ import annotations

from tokbench.tokenizers.family import Family, Variant
from tokbench.tokenizers.flowmo.config import PUBLISHED_DECODER, PUBLISHED_ENCODER, FlowMoConfig, flowmo_layout

PUBLISHED_WITH = ("data:imagenet/train", "lpips-vgg", "resnet50")
PUBLISHED_LICENCE = "not stated here; see the repository"

FAMILY = Family(
    name="flowmo",
    summary="FlowMo (Sargent et al. 2025): transformer to a sequence of binary codes, rectified-flow decoder",
    model="tokbench.tokenizers.flowmo.model:FlowMo",
    layout=flowmo_layout,
    default="lo",
    variants=(
        Variant(
            name="lo",
            config=FlowMoConfig(PUBLISHED_ENCODER, PUBLISHED_DECODER, bits=9, codebooks=2),
            image_size=256,
            summary="256 positions of 2 x 9 bits, published for ImageNet at 256 px",
            source="kylesargent/FlowMo, flowmo_lo.pth",
            licence=PUBLISHED_LICENCE,
            trained_with=PUBLISHED_WITH,
            published="flowmo/lo",
        ),
        Variant(
            name="hi",
            config=FlowMoConfig(PUBLISHED_ENCODER, PUBLISHED_DECODER, bits=14, codebooks=4),
            image_size=256,
            summary="256 positions of 4 x 14 bits, published for ImageNet at 256 px",
            source="kylesargent/FlowMo, flowmo_hi.pth",
            licence=PUBLISHED_LICENCE,
            trained_with=PUBLISHED_WITH,
            published="flowmo/hi",
        ),
    ),
)
