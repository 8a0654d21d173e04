"""Every variant of the zoo that works out of the box, loaded once, and photos to try it on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from tokbench.data.photos import PhotoCrops
from tokbench.images import to_float
from tokbench.tokenizers import zoo
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import Tokens


@cache
def loaded(name: str) -> Tokenizer:
    return zoo.load(name)


@pytest.fixture(params=zoo.ready())
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
