"""Variants of Janus's image tokenizer."""

from __future__ import annotations

from tokbench.nn.configs import AutoencoderConfig
from tokbench.quantizers.configs import VQ
from tokbench.tokenizers.conv_vq.config import ConvVQConfig
from tokbench.tokenizers.family import Family, Variant

FAMILY = Family(
    name="janus",
    summary="Janus (Wu et al. 2024): LlamaGen's tokenizer within a model that understands and draws",
    model="tokbench.tokenizers.janus.model:Janus",
    default="vq-16",
    variants=(
        Variant(
            name="vq-16",
            config=ConvVQConfig(AutoencoderConfig(256), VQ(16384, 8, cosine=True)),
            image_size=384,
            summary="f16, 16384 codes of 8 values, published within Janus and Janus-Pro for images of 384 px",
            source="deepseek-ai/Janus-Pro-1B, gen_vision_model",
            licence="DeepSeek Model License (repository)",
            trained_with=("unknown", "lpips-vgg"),
            file="hf:deepseek-ai/Janus-Pro-1B/pytorch_model.bin",
        ),
    ),
)
