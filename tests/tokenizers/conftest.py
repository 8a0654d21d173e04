"""Every variant of the zoo that works out of the box, loaded once, and photos to try it on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tokbench.data.photos import PhotoCrops
from tokbench.images import to_float
from tokbench.nn.configs import AutoencoderConfig
from tokbench.tokenizers import zoo
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.conv_vq_config import ConvVQConfig
from tokbench.tokenizers.vae.model import VAE
from tokbench.tokenizers.vae.variants import VAEConfig
from tokbench.tokenizers.vqvae.model import VQVAE
from tokbench.tokens import Tokens


@cache
def loaded(name: str) -> Tokenizer:
    return zoo.load(name)


def out_of_the_box() -> list[str]:
    return [name for name in zoo.names() if (variant := zoo.resolve(name)[1]).weights is not None or not variant.needs_weights]


@pytest.fixture(params=out_of_the_box())
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """One of the zoo; shared between tests, which leave it as it is."""
    return loaded(request.param)


@dataclass(frozen=True)
class Coded:
    """Four photos of the size a tokenizer was made for, and what it makes of them."""

    images: Tensor
    seeds: list[int]
    tokens: Tokens
    decoded: Tensor


@cache
def encode_photos(name: str) -> Coded:
    source = PhotoCrops("test", zoo.resolve(name)[1].image_size)
    pictures = np.stack([np.asarray(source.read(index)) for index in (0, 1, 2, len(source) // 2)])
    images, seeds = to_float(torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()), [11, 12, 13, 14]
    tokens = loaded(name).encode(images, seeds=seeds)
    return Coded(images, seeds, tokens, loaded(name).decode(tokens, seeds=seeds))


@pytest.fixture
def coded(tokenizer: Tokenizer) -> Coded:
    """Photos that went through the tokenizer; shared between tests, which leave them as they are."""
    return encode_photos(tokenizer.name)


SMALL = AutoencoderConfig(z_channels=4, channels=32, channel_multipliers=(1, 1), num_res_blocks=1, attn_resolutions=())


@pytest.fixture
def small_vqvae() -> VQVAE:
    """Stride 2, 16 codes, random weights."""
    torch.manual_seed(0)
    return VQVAE(ConvVQConfig(SMALL, codebook_size=16, embed_dim=4)).eval()


@pytest.fixture
def small_vae() -> VAE:
    """Stride 2, 3 latent channels, random weights."""
    torch.manual_seed(0)
    return VAE(VAEConfig(replace(SMALL, double_z=True), embed_dim=3)).eval()


@pytest.fixture
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing has been fetched."""
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "empty"))
