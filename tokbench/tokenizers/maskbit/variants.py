"""Variants of VQGAN+ and MaskBit."""

from __future__ import annotations

from dataclasses import replace

from tokbench.quantizers.configs import LFQ, VQ
from tokbench.tokenizers.conv_vq.config import ConvVQConfig
from tokbench.tokenizers.family import Family, Variant, published_variant
from tokbench.tokenizers.maskgit.variants import MASKGIT_F16


def _published(name: str, quantizer: VQ | LFQ, summary: str, repository: str) -> Variant:
    network = replace(MASKGIT_F16, z_channels=quantizer.channels, pooled=False)
    return published_variant(
        "maskbit",
        name,
        ConvVQConfig(network, quantizer, quant_convs=False, unit_range=True),
        f"f16, {summary}, published for ImageNet at 256 px",
        source=f"markweberdev/maskbit, markweber/{repository}",
        licence="Apache-2.0 (repository)",
        trained_with=("data:imagenet/train", "resnet50"),
        file=f"hf:markweber/{repository}/pytorch_model.bin",
    )


def _bits(bits: int, remark: str = "") -> Variant:
    quantizer = LFQ(bits, entropy_weight=0.02, commitment_weight=0.25, temperature=0.01, entropy_form="clamped")
    return _published(f"{bits}bit", quantizer, f"{bits} bits a token{remark}", f"maskbit_tokenizer_{bits}bit")


FAMILY = Family(
    name="maskbit",
    summary="VQGAN+ and MaskBit (Weber et al. 2024): MaskGIT's network with codes of a codebook, or of 10 to 18 signs",
    model="tokbench.tokenizers.maskbit.model:MaskBit",
    default="12bit",
    variants=(
        _bits(10),
        _bits(12),
        _bits(14),
        _bits(16),
        _bits(18, ", of which one never changes"),
        _published("vqgan-plus-10bit", VQ(1024, 256), "1024 codes of 256 values", "vqgan_plus_paper"),
        _published("vqgan-plus-12bit", VQ(4096, 64), "4096 codes of 64 values", "vqgan_plus_12bit"),
    ),
)
