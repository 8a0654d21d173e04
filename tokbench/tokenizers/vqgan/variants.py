"""Variants of VQGAN."""

from __future__ import annotations

from dataclasses import replace

from tokbench.nn.configs import AutoencoderConfig
from tokbench.quantizers.configs import VQ, Gumbel
from tokbench.tokenizers.conv_vq.config import TINY_AUTOENCODER, ConvVQConfig
from tokbench.tokenizers.family import Family, Variant, published_variant

F16 = AutoencoderConfig(256)
"""Five levels, attention at the lowest; the network of the paper."""


def _taming(name: str, config: ConvVQConfig, summary: str, data: str, file: str) -> Variant:
    return published_variant(
        "vqgan",
        name,
        config,
        summary,
        source=f"CompVis/taming-transformers, vqgan_{name.replace('-', '_')}",
        licence="MIT (repository)",
        trained_with=(f"data:{data}/train", "lpips-vgg"),
        file=f"https://heibox.uni-heidelberg.de/f/{file}/?dl=1",
    )


def _latent_diffusion(name: str, autoencoder: AutoencoderConfig, codebook_size: int, summary: str) -> Variant:
    config = ConvVQConfig(autoencoder, VQ(codebook_size, autoencoder.z_channels, loss_form="taming"))
    return published_variant(
        "vqgan",
        f"ldm-{name}",
        config,
        summary,
        source=f"CompVis/latent-diffusion, vq-{name}",
        licence="MIT (repository)",
        trained_with=("data:openimages/train", "lpips-vgg"),
        file=f"https://ommer-lab.com/files/latent-diffusion/vq-{name}.zip#model.ckpt",
    )


FAMILY = Family(
    name="vqgan",
    summary="VQGAN (Esser et al. 2021): perceptual and adversarial losses",
    model="tokbench.tokenizers.vqgan.model:VQGAN",
    default="tiny",
    variants=(
        Variant(
            name="tiny",
            config=ConvVQConfig(TINY_AUTOENCODER, VQ(1024, 16, loss_form="commitment")),
            image_size=64,
            summary="f4, 1024 codes, for 64 px photos; started from vqvae/tiny, then LPIPS and PatchGAN",
            weights="vqgan-tiny.safetensors",
            source="trained by tokbench, recipe vqgan-tiny",
            licence="Apache-2.0",
            trained_with=("data:photos/train", "lpips-vgg"),
        ),
        _taming(
            "imagenet-f16-1024",
            ConvVQConfig(F16, VQ(1024, 256, loss_form="taming")),
            "f16, 1024 codes, published for ImageNet at 256 px",
            "imagenet",
            "140747ba53464f49b476",
        ),
        _taming(
            "imagenet-f16-16384",
            ConvVQConfig(F16, VQ(16384, 256, loss_form="taming")),
            "f16, 16384 codes, published for ImageNet at 256 px",
            "imagenet",
            "867b05fc8c4841768640",
        ),
        _taming(
            "gumbel-f8",
            ConvVQConfig(
                AutoencoderConfig(256, channel_multipliers=(1, 1, 2, 4), attn_resolutions=(32,)),
                Gumbel(8192, 256, kl_weight=1e-8),
            ),
            "f8, 8192 codes chosen by score, published for OpenImages at 256 px",
            "openimages",
            "34a747d5765840b5a99d",
        ),
        _latent_diffusion(
            "f4",
            AutoencoderConfig(3, channel_multipliers=(1, 2, 4), attn_resolutions=()),
            8192,
            "f4, 8192 codes of 3 values, published for OpenImages at 256 px",
        ),
        _latent_diffusion(
            "f4-noattn",
            AutoencoderConfig(3, channel_multipliers=(1, 2, 4), attn_resolutions=(), mid_attention=False),
            8192,
            "f4, 8192 codes of 3 values, without attention, published for OpenImages at 256 px",
        ),
        _latent_diffusion(
            "f8",
            AutoencoderConfig(4, channel_multipliers=(1, 2, 2, 4), attn_resolutions=(32,)),
            16384,
            "f8, 16384 codes of 4 values, published for OpenImages at 256 px",
        ),
        _latent_diffusion(
            "f8-n256",
            AutoencoderConfig(4, channel_multipliers=(1, 2, 2, 4), attn_resolutions=(32,)),
            256,
            "f8, 256 codes of 4 values, published for OpenImages at 256 px",
        ),
        _latent_diffusion(
            "f16",
            AutoencoderConfig(8),
            16384,
            "f16, 16384 codes of 8 values, published for OpenImages at 256 px; configuration from its README row, unverified",
        ),
        replace(
            published_variant(
                "vqgan",
                "chameleon",
                ConvVQConfig(AutoencoderConfig(256, attn_resolutions=()), VQ(8192, 256, loss_form="taming")),
                "f16, 8192 codes, of Chameleon and Anole at 512 px; its file's names are taming's, unverified",
                source="facebookresearch/chameleon, tokenizer/vqgan.ckpt, as GAIR/Anole-7b-v0.1 has it",
                licence="Chameleon Research, non-commercial (repository, unverified)",
                trained_with=("unknown", "lpips-vgg"),
                file="hf:GAIR/Anole-7b-v0.1/tokenizer/vqgan.ckpt",
                figures=False,
            ),
            image_size=512,
        ),
    ),
)
