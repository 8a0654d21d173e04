"""Published DC-AE models: the settings of each, and the factor that its diffusion models scale latents by.

Source: Chen et al. 2024, "Deep Compression Autoencoder for Efficient High-Resolution Diffusion Models"; Chen et al. 2025, "DC-AE 1.5";
mit-han-lab/efficientvit and dc-ai-projects/DC-Gen, ``dc_ae.py``.
"""

from __future__ import annotations

from typing import Any

from tokbench.tokenizers.diffusers.config import AutoencoderDCConfig
from tokbench.tokenizers.family import Family, Variant, published_variant
from tokbench.tokenizers.library.config import settings_of

WIDTHS = (128, 256, 512, 512, 1024, 1024)


def _both(**values: object) -> dict[str, object]:
    return {f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in values.items()}


def _deep(channels: int, widths: tuple[int, ...], scale: float) -> dict[str, Any]:
    """DC-AE 1.0: the first three levels are convolutions, the others attend."""
    rest = len(widths) - 3
    return {
        "latent_channels": channels,
        "scaling_factor": scale,
        **_both(
            block_types=("ResBlock",) * 3 + ("EfficientViTBlock",) * rest, block_out_channels=widths, qkv_multiscales=((),) * len(widths)
        ),
        "encoder_layers_per_block": (0, 4, 8) + (2,) * rest,
        "decoder_layers_per_block": (0, 5, 10) + (2,) * rest,
        "decoder_norm_types": ("batch_norm",) * 3 + ("rms_norm",) * rest,
        "decoder_act_fns": ("relu",) * 3 + ("silu",) * rest,
    }


def _sana(**decoder: object) -> dict[str, Any]:
    """Those of SANA: attention over several sizes, plain strides."""
    attended = ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3
    return {
        "latent_channels": 32,
        "scaling_factor": 0.41407,
        **_both(block_types=attended, block_out_channels=WIDTHS, qkv_multiscales=((),) * 3 + ((5,),) * 3),
        "encoder_layers_per_block": (2, 2, 2, 3, 3, 3),
        "decoder_layers_per_block": (3,) * 6,
        "downsample_block_type": "conv",
        "upsample_block_type": "interpolate",
        **decoder,
    }


LITE = {
    "decoder_block_types": "ResBlock",
    "decoder_layers_per_block": (0, 3, 5, 4, 4, 4),
    "upsample_block_type": "pixel_shuffle",
    "decoder_conv_act_fn": "silu",
}
"""The decoder of DC-AE-Lite, behind the encoder of SANA's."""


def _structured(channels: int, widths: tuple[int, ...]) -> dict[str, Any]:
    """DC-AE 1.5: convolutions alone, no shortcut around the latents."""
    layers = (0, 5, 10) + (4,) * (len(widths) - 3)
    return {
        "latent_channels": channels,
        **_both(block_types="ResBlock", block_out_channels=widths, layers_per_block=layers, qkv_multiscales=((),) * len(widths)),
        "encoder_out_shortcut": False,
        "decoder_in_shortcut": False,
        "decoder_conv_act_fn": "silu",
    }


FIGURES = ("f64c128-in-1.0", "f32c32-sana-1.0", "f32c32-sana-1.1")
"""Models with published figures."""


def _published(name: str, settings: dict[str, Any], summary: str, owner: str = "mit-han-lab") -> Variant:
    repository = f"{owner}/dc-ae-{name}-diffusers"
    return published_variant(
        "dcae",
        name,
        AutoencoderDCConfig(settings_of(settings)),
        summary,
        source=repository if owner == "mit-han-lab" else f"{repository}; name of its file unverified",
        licence="Apache-2.0 (repository)",
        trained_with=("data:imagenet/train", "lpips-vgg") if "-in-" in name else ("lpips-vgg",),
        file=f"hf:{repository}/diffusion_pytorch_model.safetensors",
        figures=name in FIGURES,
    )


FAMILY = Family(
    name="dcae",
    summary="DC-AE (Chen et al. 2024): few continuous latents, built by the library diffusers",
    model="tokbench.tokenizers.diffusers.model:DiffusersTokenizer",
    default="f32c32-in-1.0",
    variants=(
        _published("f32c32-in-1.0", _deep(32, WIDTHS, 0.3189), "f32, 32 latent channels, of ImageNet"),
        _published("f32c32-mix-1.0", _deep(32, WIDTHS, 0.4552), "f32, 32 latent channels, of a mixture of data"),
        _published("f64c128-in-1.0", _deep(128, (*WIDTHS, 2048), 0.2889), "f64, 128 latent channels, of ImageNet"),
        _published("f64c128-mix-1.0", _deep(128, (*WIDTHS, 2048), 0.4538), "f64, 128 latent channels, of a mixture of data"),
        _published("f128c512-in-1.0", _deep(512, (*WIDTHS, 2048, 2048), 0.4883), "f128, 512 latent channels, of ImageNet"),
        _published("f128c512-mix-1.0", _deep(512, (*WIDTHS, 2048, 2048), 0.3620), "f128, 512 latent channels, of a mixture of data"),
        _published("f32c32-sana-1.0", _sana(), "f32, 32 latent channels, of SANA"),
        _published("f32c32-sana-1.1", _sana(), "f32, 32 latent channels, of SANA, with a better decoder"),
        _published("lite-f32c32-sana-1.1", _sana(**LITE), "f32, 32 latent channels, SANA's encoder and a faster decoder"),
        _published("1.5-f32c128", _structured(128, WIDTHS), "f32, 128 latent channels in order", "dc-ai"),
        _published("1.5-f64c128", _structured(128, (*WIDTHS, 1024)), "f64, 128 latent channels in order", "dc-ai"),
    ),
)
