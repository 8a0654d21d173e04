"""Variants of Open-MAGVIT2, and Show-o's tokenizer."""

from __future__ import annotations

from dataclasses import replace

from tokbench.nn.configs import AutoencoderConfig
from tokbench.quantizers.configs import LFQ
from tokbench.tokenizers.conv_vq.config import ConvVQConfig
from tokbench.tokenizers.family import Family, Variant, published_variant


def _open_magvit2(name: str, bits: int, multipliers: tuple[int, ...], summary: str, repository: str, file: str, *data: str) -> Variant:
    network = AutoencoderConfig(
        bits, channel_multipliers=multipliers, num_res_blocks=4, attn_resolutions=(), mid_attention=False, design="magvit2"
    )
    signs = LFQ(bits, entropy_weight=0.1, commitment_weight=0.25, temperature=0.01)
    return published_variant(
        "magvit2",
        name,
        ConvVQConfig(network, signs, quant_convs=False),
        summary,
        source=f"TencentARC/SEED-Voken, {file}",
        licence="Apache-2.0 (repository)",
        trained_with=(*data, "lpips-vgg"),
        file=f"hf:TencentARC/Open-MAGVIT2-Tokenizer-{repository}/{file}",
    )


F16, F8 = (1, 1, 2, 2, 4), (1, 2, 2, 4)
IMAGENET, PRETRAINING = ("data:imagenet/train",), ("data:laion-coco/train", "unknown")

FAMILY = Family(
    name="magvit2",
    summary="Open-MAGVIT2 (Luo et al. 2024) and Show-o's MAGVIT-v2: signs of channels for codes",
    model="tokbench.tokenizers.magvit2.model:MAGVIT2",
    default="imagenet-256",
    variants=(
        _open_magvit2(
            "imagenet-256",
            18,
            F16,
            "f16, 262144 codes of 18 signs, published for ImageNet at 256 px",
            "256-resolution",
            "imagenet_256_L.ckpt",
            *IMAGENET,
        ),
        replace(
            _open_magvit2(
                "imagenet-128",
                18,
                F8,
                "f8, 262144 codes of 18 signs, published for ImageNet at 128 px",
                "128-resolution",
                "imagenet_128_L.ckpt",
                *IMAGENET,
            ),
            image_size=128,
        ),
        _open_magvit2(
            "pretrain-16384",
            14,
            F16,
            "f16, 16384 codes of 14 signs, published on LAION-COCO and other data at 256 px",
            "16384-Pretrain",
            "pretrain256_16384.ckpt",
            *PRETRAINING,
        ),
        _open_magvit2(
            "pretrain-262144",
            18,
            F16,
            "f16, 262144 codes of 18 signs, published on LAION-COCO and other data at 256 px",
            "262144-Pretrain",
            "pretrain256_262144.ckpt",
            *PRETRAINING,
        ),
        published_variant(
            "magvit2",
            "show-o",
            ConvVQConfig(
                AutoencoderConfig(
                    13,
                    channel_multipliers=(1, 2, 2, 4, 4),
                    attn_resolutions=(),
                    encoder_blocks=(4, 3, 4, 3, 4),
                    decoder_blocks=(4, 4, 3, 4, 3),
                    decoder_multipliers=(1, 1, 2, 2, 4),
                ),
                LFQ(13, bit_order="high"),
            ),
            "f16, 8192 codes of 13 signs, of Show-o; the name of its file is unverified",
            source="showlab/magvitv2",
            licence="Apache-2.0 (repository)",
            trained_with=("unknown",),
            file="hf:showlab/magvitv2/pytorch_model.bin",
        ),
    ),
)
