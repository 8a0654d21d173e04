"""Variants of RAE: the published encoders, each with a decoder of letter XL."""

from __future__ import annotations

from tokbench.tokenizers.family import Family, Variant
from tokbench.tokenizers.library.config import settings_of
from tokbench.tokenizers.rae.config import RAEConfig

DECODER = {
    "decoder_hidden_size": 1152,
    "decoder_num_hidden_layers": 28,
    "decoder_num_attention_heads": 16,
    "decoder_intermediate_size": 4096,
    "patch_size": 16,
}
"""ViT-XL; the library's class has a smaller one by default."""

BASE = {"encoder_hidden_size": 768, "encoder_num_hidden_layers": 12}
SMALL = {"encoder_hidden_size": 384, "encoder_num_hidden_layers": 12}
LARGE = {"encoder_hidden_size": 1024, "encoder_num_hidden_layers": 24}
DINOV2 = {"encoder_type": "dinov2", "encoder_patch_size": 14, "encoder_input_size": 224}
"""Sees 14 px patches of images of 224 px, which are drawn as 16 px patches of 256 px."""

SIGLIP2 = {"encoder_type": "siglip2", "encoder_patch_size": 16, "encoder_input_size": 256}
SIGLIP2 |= {"encoder_norm_mean": (0.5,) * 3, "encoder_norm_std": (0.5,) * 3}
MAE = {"encoder_type": "mae", "encoder_patch_size": 16, "encoder_input_size": 256}


def _published(name: str, encoder: dict[str, object], summary: str, repository: str, *, figures: bool = False) -> Variant:
    config = RAEConfig(settings_of(DECODER | encoder))
    return Variant(
        name=name,
        config=config,
        image_size=config.image_size,
        summary=f"f16, {config.channels} latent channels, {summary}, drawn at {config.image_size} px",
        source=f"nyu-visionx/{repository}",
        licence="MIT (repository, of the decoder)",
        file=f"hf:nyu-visionx/{repository}/diffusion_pytorch_model.safetensors",
        trained_with=("data:imagenet/train", "lpips-vgg", str(encoder["encoder_type"]), "dinov1"),
        published=f"rae/{name}" if figures else None,
    )


FAMILY = Family(
    name="rae",
    summary="RAE (Zheng et al. 2025): features of frozen encoders and a decoder that draws them, built by the library diffusers",
    model="tokbench.tokenizers.rae.model:RAE",
    default="dinov2-b",
    variants=(
        _published("dinov2-b", DINOV2 | BASE, "DINOv2-B with registers", "RAE-dinov2-wReg-base-ViTXL-n08", figures=True),
        _published(
            "dinov2-b-512",
            DINOV2 | BASE | {"encoder_input_size": 448},
            "DINOv2-B with registers at 448 px",
            "RAE-dinov2-wReg-base-ViTXL-n08-i512",
        ),
        _published("dinov2-s", DINOV2 | SMALL, "DINOv2-S with registers", "RAE-dinov2-wReg-small-ViTXL-n08"),
        _published("dinov2-l", DINOV2 | LARGE, "DINOv2-L with registers", "RAE-dinov2-wReg-large-ViTXL-n08"),
        _published("siglip2-b", SIGLIP2 | BASE, "SigLIP2-B", "RAE-siglip2-base-p16-i256-ViTXL-n08"),
        _published("mae-b", MAE | BASE, "MAE-B", "RAE-mae-base-p16-ViTXL-n08"),
    ),
)
