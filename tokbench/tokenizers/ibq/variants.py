"""Variants of IBQ's tokenizers."""

from __future__ import annotations

from tokbench.nn.configs import AutoencoderConfig
from tokbench.quantizers.configs import IBQ
from tokbench.tokenizers.conv_vq.config import ConvVQConfig
from tokbench.tokenizers.family import Family, Variant, published_variant

F16 = AutoencoderConfig(256, num_res_blocks=4)
"""Five levels of four blocks, attention at the lowest."""


def _seed_voken(codes: int, *, pretrained: bool = False) -> Variant:
    name, repository = (f"pretrain-{codes}", f"{codes}-Pretrain") if pretrained else (f"imagenet-{codes}", f"{codes}")
    file = f"IBQ_pretrain_{codes}.ckpt" if pretrained else f"imagenet256_{codes}.ckpt"
    data = "on LAION-COCO and other data" if pretrained else "for ImageNet"
    return published_variant(
        "ibq",
        name,
        ConvVQConfig(F16, IBQ(codes, 256)),
        f"f16, {codes} codes of 256 values, published {data} at 256 px",
        source=f"TencentARC/SEED-Voken, {file}",
        licence="Apache-2.0 (repository)",
        trained_with=("data:laion-coco/train", "unknown", "lpips-vgg") if pretrained else ("data:imagenet/train", "lpips-vgg"),
        file=f"hf:TencentARC/IBQ-Tokenizer-{repository}/{file}",
    )


FAMILY = Family(
    name="ibq",
    summary="IBQ (Shi et al. 2024): VQGAN with up to 262144 codes that all learn at once",
    model="tokbench.tokenizers.ibq.model:IBQTokenizer",
    default="imagenet-16384",
    variants=(
        *(_seed_voken(codes) for codes in (1024, 8192, 16384, 262144)),
        *(_seed_voken(codes, pretrained=True) for codes in (16384, 262144)),
        published_variant(
            "ibq",
            "emu3.5",
            ConvVQConfig(AutoencoderConfig(256, channels=256, num_res_blocks=4), IBQ(131072, 256)),
            "f16, 131072 codes of 256 values, of Emu3.5; encoder and decoder have one set of settings, as its code has it",
            source="BAAI/Emu3.5-VisionTokenizer",
            licence="Apache-2.0 (model card)",
            trained_with=("unknown",),
            file="hf:BAAI/Emu3.5-VisionTokenizer/model.ckpt",
        ),
    ),
)
