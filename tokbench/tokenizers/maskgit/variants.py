"""Variants of MaskGIT's tokenizer."""

from __future__ import annotations

from tokbench.nn.configs import AutoencoderConfig
from tokbench.quantizers.configs import VQ
from tokbench.tokenizers.conv_vq.config import ConvVQConfig
from tokbench.tokenizers.family import Family, published_variant
from tokbench.weights.training import UNKNOWN

MASKGIT_F16 = AutoencoderConfig(256, attn_resolutions=(), mid_attention=False, design="maskgit", pooled=True)
"""Five levels without attention, which halve maps by their mean."""

FAMILY = Family(
    name="maskgit",
    summary="MaskGIT's VQGAN (Chang et al. 2022): convolutions alone, 1024 codes",
    model="tokbench.tokenizers.maskgit.model:MaskGIT",
    default="imagenet-f16",
    variants=(
        published_variant(
            "maskgit",
            "imagenet-f16",
            ConvVQConfig(MASKGIT_F16, VQ(1024, 256, loss_form="taming"), quant_convs=False, unit_range=True),
            "f16, 1024 codes, published for ImageNet at 256 px; a port of the weights of google-research/maskgit",
            source="bytedance/1d-tokenizer, maskgit-vqgan-imagenet-f16-256.bin; the same: markweber/maskgit_tokenizer",
            licence="Apache-2.0 (repository)",
            trained_with=("data:imagenet/train", UNKNOWN),
            file="hf:fun-research/TiTok/maskgit-vqgan-imagenet-f16-256.bin",
        ),
    ),
)
