"""Variants of HunyuanImage's autoencoder."""

from __future__ import annotations

from tokbench.nn.configs import HunyuanNetworkConfig
from tokbench.tokenizers.family import Family, published_variant
from tokbench.tokenizers.hunyuan.config import HunyuanConfig
from tokbench.tokenizers.normalisation import Normalisation

FAMILY = Family(
    name="hunyuan",
    summary="autoencoder of HunyuanImage (Tencent Hunyuan 2025): few continuous latents of many channels",
    model="tokbench.tokenizers.hunyuan.model:Hunyuan",
    default="image",
    variants=(
        published_variant(
            "hunyuan",
            "image",
            HunyuanConfig(HunyuanNetworkConfig()),
            "f32, 64 latent channels, of HunyuanImage 2.1",
            source="tencent/HunyuanImage-2.1, vae; its training data are not published",
            licence="Tencent Hunyuan Community (model card, unverified)",
            trained_with=(),
            file="hf:hunyuanvideo-community/HunyuanImage-2.1-Diffusers/vae/diffusion_pytorch_model.safetensors",
            figures=False,
            normalisation=Normalisation(scale=0.75289),
        ),
    ),
)
