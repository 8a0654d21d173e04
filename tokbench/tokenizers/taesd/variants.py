"""Variants of TAESD, by the model whose autoencoder each stands in for."""

from __future__ import annotations

from tokbench.tokenizers.family import Family, Variant, published_variant
from tokbench.tokenizers.taesd.config import TAESDConfig


def _variant(
    name: str, repository: str, channels: int, of: str, file: str = "diffusion_pytorch_model.safetensors", *, pooled: bool = False
) -> Variant:
    return published_variant(
        "taesd",
        name,
        TAESDConfig(channels, pooled=pooled),
        f"f8, {channels} latent channels, those that {of} reads",
        source=f"madebyollin/{repository}; its training data are not published",
        licence="MIT (repository)",
        trained_with=(),
        file=f"hf:madebyollin/{repository}/{file}",
        figures=False,
    )


FAMILY = Family(
    name="taesd",
    summary="TAESD (Ollin Boer Bohan 2023): tiny autoencoders in the latents of large ones",
    model="tokbench.tokenizers.taesd.model:TAESD",
    default="sd",
    variants=(
        _variant("sd", "taesd", 4, "Stable Diffusion 1 and 2"),
        _variant("sdxl", "taesdxl", 4, "Stable Diffusion XL"),
        _variant("sd3", "taesd3", 16, "Stable Diffusion 3 and 3.5"),
        _variant("flux", "taef1", 16, "FLUX.1"),
        published_variant(
            "taesd",
            "sana",
            TAESDConfig(32, stem=(32, 64), up_widths=(256, 128, 64, 64, 64, 64), up_blocks=(3, 3, 3, 3, 3, 1)),
            "f32, 32 latent channels, those that SANA reads; give the folder of both files",
            source="madebyollin/taesd: taesana_encoder.pth and taesana_decoder.pth; its training data are not published",
            licence="MIT (repository)",
            trained_with=(),
            figures=False,
        ),
        _variant("flux2", "taef2", 32, "FLUX.2 in its squares", "taef2.safetensors", pooled=True),
    ),
)
