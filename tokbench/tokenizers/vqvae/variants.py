"""Variants of VQ-VAE."""

from __future__ import annotations

from tokbench.nn.configs import AutoencoderConfig
from tokbench.quantizers.configs import VQ
from tokbench.tokenizers.conv_vq.config import TINY_AUTOENCODER, ConvVQConfig
from tokbench.tokenizers.family import Family, Variant

SCENES_AUTOENCODER = AutoencoderConfig(
    16,
    channels=16,
    channel_multipliers=(1, 2, 4, 6),
    num_res_blocks=1,
    attn_resolutions=(),
    resolution=64,
    mid_attention=False,
    norm_groups=4,
    norm="rms",
    local_levels=3,
)
"""Strides of 8: a picture of 64 px is 64 codes, which is few enough for a small language model. A code tells of its place and at most 10 px around,
so that an edit leaves the codes elsewhere as they are."""

FAMILY = Family(
    name="vqvae",
    summary="VQ-VAE (van den Oord et al. 2017): squared error, codebook by moving averages",
    model="tokbench.tokenizers.vqvae.model:VQVAE",
    default="tiny",
    variants=(
        Variant(
            name="tiny",
            config=ConvVQConfig(TINY_AUTOENCODER, VQ(1024, 16, loss_form="commitment")),
            image_size=64,
            summary="f4, 1024 codes, for 64 px photos; squared error only",
            weights="vqvae-tiny.safetensors",
            source="trained by tokbench, recipe vqvae-tiny",
            licence="Apache-2.0",
            trained_with=("data:photos/train",),
        ),
        Variant(
            name="scenes",
            config=ConvVQConfig(SCENES_AUTOENCODER, VQ(512, 16, loss_form="commitment")),
            image_size=64,
            summary="f8, 512 codes, for 64 px drawn scenes; squared error only",
            weights="vqvae-scenes.safetensors",
            source="trained by tokbench, recipe vqvae-scenes",
            licence="Apache-2.0",
            trained_with=("data:scenes/train:30000",),
        ),
    ),
)
