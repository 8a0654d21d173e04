"""Variants: one a class of diffusers, with the settings of a well-known model for files that come without a ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokbench.tokenizers.diffusers.config import (
    FRAMES,
    AutoencoderDCConfig,
    AutoencoderKLConfig,
    AutoencoderTinyConfig,
    ConsistencyDecoderConfig,
    GaussianConfig,
    VQModelConfig,
)
from tokbench.tokenizers.family import Family, Variant
from tokbench.tokenizers.library.config import LibraryConfig, settings_of

_STABLE_DIFFUSION = (128, 256, 512, 512)
_DC_BLOCKS, _DC_CHANNELS = ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3, (128, 256, 512, 512, 1024, 1024)


def _convolutional(widths: tuple[int, ...], **values: object) -> str:
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * len(widths), "up_block_types": ["UpDecoderBlock2D"] * len(widths)}
    return settings_of({"block_out_channels": widths, "layers_per_block": 2, **blocks, **values})


def _variant(name: str, config: LibraryConfig, summary: str, source: str) -> Variant:
    return Variant(name=name, config=config, image_size=256, summary=summary, source=source, licence="its own (of the model given)")


def _gaussian(name: str, library_class: Any, settings: Mapping[str, object], example: str | None) -> Variant:
    """A class by its settings in a published model; None where only those of the class are known."""
    one = ", an image as a clip of one frame" if library_class in FRAMES else ""
    whose = "one with the settings of the class" if example is None else f"{example.partition('/')[2].partition('/')[0]}'s"
    place = "a folder of diffusers" if example is None else f"a folder of diffusers, e.g. hf:{example}"
    summary = f"any {library_class}{one}; a file alone is taken for {whose}"
    return _variant(name, GaussianConfig(settings_of(settings), library_class), summary, place)


FAMILY = Family(
    name="diffusers",
    summary="autoencoders of the library diffusers, from folders of save_pretrained",
    model="tokbench.tokenizers.diffusers.model:DiffusersTokenizer",
    default="kl",
    variants=(
        _variant(
            "kl",
            AutoencoderKLConfig(_convolutional(_STABLE_DIFFUSION, latent_channels=4)),
            "any AutoencoderKL; a file alone is taken for Stable Diffusion's",
            "a folder of diffusers, e.g. hf:stabilityai/sd-vae-ft-mse",
        ),
        _variant(
            "vq",
            VQModelConfig(_convolutional((128, 256, 512), latent_channels=3, num_vq_embeddings=8192, vq_embed_dim=3)),
            "any VQModel; a file alone is taken for latent diffusion's vq-f4",
            "a folder of diffusers, e.g. hf:CompVis/ldm-super-resolution-4x-openimages/vqvae",
        ),
        _variant(
            "tiny",
            AutoencoderTinyConfig(
                settings_of(
                    {
                        "encoder_block_out_channels": (64,) * 4,
                        "decoder_block_out_channels": (64,) * 4,
                        "num_encoder_blocks": (1, 3, 3, 3),
                        "num_decoder_blocks": (3, 3, 3, 1),
                        "latent_channels": 4,
                        "upsampling_scaling_factor": 2,
                    }
                )
            ),
            "any AutoencoderTiny; a file alone is taken for TAESD",
            "a folder of diffusers, e.g. hf:madebyollin/taesd",
        ),
        _variant(
            "dc",
            AutoencoderDCConfig(
                settings_of(
                    {
                        "latent_channels": 32,
                        "encoder_block_types": _DC_BLOCKS,
                        "decoder_block_types": _DC_BLOCKS,
                        "encoder_block_out_channels": _DC_CHANNELS,
                        "decoder_block_out_channels": _DC_CHANNELS,
                        "encoder_layers_per_block": (0, 4, 8, 2, 2, 2),
                        "decoder_layers_per_block": (0, 5, 10, 2, 2, 2),
                        "encoder_qkv_multiscales": ((),) * 6,
                        "decoder_qkv_multiscales": ((),) * 6,
                        "decoder_norm_types": ("batch_norm",) * 3 + ("rms_norm",) * 3,
                        "decoder_act_fns": ("relu",) * 3 + ("silu",) * 3,
                    }
                )
            ),
            "any AutoencoderDC; a file alone is taken for dc-ae-f32c32-in-1.0",
            "a folder of diffusers, e.g. hf:mit-han-lab/dc-ae-f32c32-in-1.0-diffusers",
        ),
        _variant(
            "consistency",
            ConsistencyDecoderConfig(settings_of({"encoder_block_out_channels": _STABLE_DIFFUSION, "latent_channels": 4})),
            "any ConsistencyDecoderVAE; decoding draws noise, in two steps",
            "a folder of diffusers, e.g. hf:openai/consistency-decoder",
        ),
        _gaussian(
            "asymmetric",
            "AsymmetricAutoencoderKL",
            {"down_block_out_channels": _STABLE_DIFFUSION, "up_block_out_channels": (192, 384, 768, 768), "latent_channels": 4}
            | {f"{way}_block_types": [f"{kind}Block2D"] * 4 for way, kind in (("down", "DownEncoder"), ("up", "UpDecoder"))}
            | {"layers_per_down_block": 2, "layers_per_up_block": 3},
            "cross-attention/asymmetric-autoencoder-kl-x-1-5",
        ),
        _gaussian(
            "flux2",
            "AutoencoderKLFlux2",
            {"block_out_channels": _STABLE_DIFFUSION, "latent_channels": 32, "patch_size": (2, 2)},
            "black-forest-labs/FLUX.2-dev/vae",
        ),
        _gaussian(
            "hunyuan-image",
            "AutoencoderKLHunyuanImage",
            {"in_channels": 3, "out_channels": 3, "latent_channels": 64, "block_out_channels": (128, 256, 512, 512, 1024, 1024)}
            | {"layers_per_block": 2, "spatial_compression_ratio": 32, "sample_size": 384, "scaling_factor": 0.75289},
            "hunyuanvideo-community/HunyuanImage-2.1-Diffusers/vae",
        ),
        _gaussian("wan", "AutoencoderKLWan", {"z_dim": 16, "dim_mult": (1, 2, 4, 4)}, "Wan-AI/Wan2.1-T2V-1.3B-Diffusers/vae"),
        _gaussian("qwen", "AutoencoderKLQwenImage", {"z_dim": 16, "dim_mult": (1, 2, 4, 4)}, "Qwen/Qwen-Image/vae"),
        _gaussian(
            "qwen-2.1",
            "AutoencoderKLQwenImage21",
            {"z_dim": 64, "dim_mult": (1, 2, 4, 8, 8), "in_channels": 4, "out_channels": 4},
            "Qwen/Qwen-Image-2.1/vae",
        ),
        _gaussian(
            "hunyuan-video",
            "AutoencoderKLHunyuanVideo",
            {"latent_channels": 16, "spatial_compression_ratio": 8, "scaling_factor": 0.476986},
            "hunyuanvideo-community/HunyuanVideo/vae",
        ),
        _gaussian(
            "hunyuan-video-1.5",
            "AutoencoderKLHunyuanVideo15",
            {"latent_channels": 32, "spatial_compression_ratio": 16, "scaling_factor": 1.03682},
            "hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-480p_t2v/vae",
        ),
        _gaussian(
            "ltx",
            "AutoencoderKLLTXVideo",
            {"latent_channels": 128, "patch_size": 4, "spatio_temporal_scaling": (True, True, True, False)},
            "Lightricks/LTX-Video/vae",
        ),
        _gaussian(
            "cogvideox",
            "AutoencoderKLCogVideoX",
            {"block_out_channels": (128, 256, 256, 512), "latent_channels": 16, "layers_per_block": 3, "scaling_factor": 1.15258426},
            "THUDM/CogVideoX-2b/vae",
        ),
        _gaussian(
            "cosmos",
            "AutoencoderKLCosmos",
            {"latent_channels": 16, "spatial_compression_ratio": 8},
            "nvidia/Cosmos-1.0-Diffusion-7B-Text2World/vae",
        ),
        _gaussian(
            "magvit",
            "AutoencoderKLMagvit",
            {"block_out_channels": (128, 256, 512, 512), "latent_channels": 16, "scaling_factor": 0.7125},
            "alibaba-pai/EasyAnimateV5.1-7b-zh-diffusers/vae",
        ),
        _gaussian(
            "hunyuan-refiner",
            "AutoencoderKLHunyuanImageRefiner",
            {"latent_channels": 32, "spatial_compression_ratio": 16, "scaling_factor": 1.03682},
            "hunyuanvideo-community/HunyuanImage-2.1-Refiner-Diffusers/vae",
        ),
        _gaussian("kvae", "AutoencoderKLKVAE", {"z_channels": 16, "ch_mult": (1, 2, 4, 8)}, None),
        _gaussian("kvae-video", "AutoencoderKLKVAEVideo", {"z_channels": 16, "ch_mult": (1, 2, 4, 8)}, None),
        _gaussian(
            "ltx-2",
            "AutoencoderKLLTX2Video",
            {"latent_channels": 128, "patch_size": 4, "spatio_temporal_scaling": (True,) * 4}
            | {"downsample_type": ("spatial", "temporal", "spatiotemporal", "spatiotemporal")},
            "Lightricks/LTX-2/vae",
        ),
        _gaussian("mochi", "AutoencoderKLMochi", {"latent_channels": 12, "spatial_expansions": (2, 2, 2)}, "genmo/mochi-1-preview/vae"),
        _gaussian(
            "kandinsky-sr",
            "Kandinsky6SRVAE",
            {"latent_channels": 64, "encoder_block_out_channels": (16, 128, 256, 512, 1024), "scaling_factor": 0.910344004631042},
            None,
        ),
        _gaussian(
            "temporal-decoder",
            "AutoencoderKLTemporalDecoder",
            {"block_out_channels": _STABLE_DIFFUSION, "down_block_types": ["DownEncoderBlock2D"] * 4, "layers_per_block": 2}
            | {"latent_channels": 4},
            "stabilityai/stable-video-diffusion-img2vid/vae",
        ),
    ),
)
