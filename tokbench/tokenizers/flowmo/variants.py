"""Variants of FlowMo."""

from __future__ import annotations

from tokbench.tokenizers.family import Family, Variant, published_variant
from tokbench.tokenizers.flowmo.config import (
    PUBLISHED_DECODER,
    PUBLISHED_ENCODER,
    TINY_DECODER,
    TINY_ENCODER,
    FlowMoConfig,
)

PUBLISHED_WITH = ("data:imagenet/train", "lpips-vgg", "resnet50")

FAMILY = Family(
    name="flowmo",
    summary="FlowMo (Sargent et al. 2025): transformer to a sequence of binary codes, rectified-flow decoder",
    model="tokbench.tokenizers.flowmo.model:FlowMo",
    default="tiny",
    variants=(
        Variant(
            name="tiny",
            config=FlowMoConfig(
                TINY_ENCODER,
                TINY_DECODER,
                bits=10,
                codebooks=4,
                code_length=64,
                image_size=64,
                code_places="grid",
                steps=8,
                schedule="linear",
                guidance=1.0,
                commitment_weight=0.05,
            ),
            image_size=64,
            summary="64 positions of 4 x 10 bits, for 64 px photos; flow matching, then post-training through the walk",
            weights="flowmo-tiny.safetensors",
            source="trained by tokbench, recipes flowmo-tiny and flowmo-tiny-post",
            licence="Apache-2.0",
            trained_with=("data:photos/train", "lpips-vgg"),
        ),
        published_variant(
            "flowmo",
            "lo",
            FlowMoConfig(PUBLISHED_ENCODER, PUBLISHED_DECODER, bits=9, codebooks=2),
            "256 positions of 2 x 9 bits, published for ImageNet at 256 px",
            source="kylesargent/FlowMo, flowmo_lo.pth",
            licence="Apache-2.0 (repository)",
            file="hf:ksarge/FlowMo/flowmo_lo.pth",
            trained_with=PUBLISHED_WITH,
        ),
        published_variant(
            "flowmo",
            "hi",
            FlowMoConfig(PUBLISHED_ENCODER, PUBLISHED_DECODER, bits=14, codebooks=4),
            "256 positions of 4 x 14 bits, published for ImageNet at 256 px",
            source="kylesargent/FlowMo, flowmo_hi.pth",
            licence="Apache-2.0 (repository)",
            file="hf:ksarge/FlowMo/flowmo_hi.pth",
            trained_with=PUBLISHED_WITH,
        ),
    ),
)
