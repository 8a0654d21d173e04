"""Variants of LlamaGen's tokenizers."""

from __future__ import annotations

from tokbench.nn.configs import AutoencoderConfig
from tokbench.quantizers.configs import VQ
from tokbench.tokenizers.conv_vq.config import ConvVQConfig
from tokbench.tokenizers.family import Family, Variant, published_variant


def _published(name: str, autoencoder: AutoencoderConfig, summary: str, file: str, data: str) -> Variant:
    config = ConvVQConfig(autoencoder, VQ(16384, 8, cosine=True))
    return published_variant(
        "llamagen",
        name,
        config,
        summary,
        source=f"FoundationVision/LlamaGen, {file.rpartition('/')[2]}",
        licence="MIT (repository)",
        trained_with=(f"data:{data}/train", "lpips-vgg"),
        file=file,
    )


FAMILY = Family(
    name="llamagen",
    summary="LlamaGen (Sun et al. 2024): VQGAN with 16384 directions of 8 values for codes",
    model="tokbench.tokenizers.llamagen.model:LlamaGen",
    default="vq-16",
    variants=(
        _published(
            "vq-16",
            AutoencoderConfig(256),
            "f16, 16384 codes, published for ImageNet at 256 px",
            "hf:FoundationVision/LlamaGen/vq_ds16_c2i.pt",
            "imagenet",
        ),
        _published(
            "vq-8",
            AutoencoderConfig(256, channel_multipliers=(1, 2, 2, 4), attn_resolutions=(32,)),
            "f8, 16384 codes, published for ImageNet at 256 px",
            "hf:FoundationVision/LlamaGen/vq_ds8_c2i.pt",
            "imagenet",
        ),
        _published(
            "vq-16-t2i",
            AutoencoderConfig(256),
            "f16, 16384 codes, published for text to image, on LAION-COCO and data that are not published",
            "hf:peizesun/llamagen_t2i/vq_ds16_t2i.pt",
            "laion-coco",
        ),
    ),
)
