"""Variants of Qwen-Image's autoencoder."""

from __future__ import annotations

from tokbench.nn.configs import WanNetworkConfig
from tokbench.tokenizers.family import Family, published_variant
from tokbench.tokenizers.normalisation import Normalisation
from tokbench.tokenizers.wan.config import WanConfig
from tokbench.tokenizers.wan.variants import MEAN, STD

FAMILY = Family(
    name="qwen",
    summary="autoencoder of Qwen-Image (Qwen Team 2025), Wan 2.1's network on stills: continuous latents",
    model="tokbench.tokenizers.wan.model:Wan",
    default="image",
    variants=(
        published_variant(
            "qwen",
            "image",
            WanConfig(WanNetworkConfig()),
            "f8, 16 latent channels; Wan 2.1's encoder with a decoder tuned on images of text",
            source="Qwen/Qwen-Image, vae; its training data are not published",
            licence="Apache-2.0 (model card)",
            trained_with=(),
            file="hf:Qwen/Qwen-Image/vae/diffusion_pytorch_model.safetensors",
            normalisation=Normalisation(MEAN, STD),
        ),
        published_variant(
            "qwen",
            "e2e-image",
            WanConfig(WanNetworkConfig()),
            "f8, 16 latent channels, Qwen-Image's tuned with a diffusion model",
            source="REPA-E/e2e-qwenimage-vae (Leng et al. 2025, REPA-E); name of its file unverified",
            licence="Apache-2.0 (model card, unverified)",
            trained_with=("data:imagenet/train", "lpips-vgg", "dinov2"),
            file="hf:REPA-E/e2e-qwenimage-vae/diffusion_pytorch_model.safetensors",
            beside="config.json",
            figures=False,
        ),
    ),
)
