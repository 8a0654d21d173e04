"""Pictures to train on that cost nothing."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

from tokbench.data.source import ImageSource
from tokbench.images import UnreadableImage


class Noise(ImageSource):
    """Smooth random pictures of given sizes; None is one that cannot be read."""

    def __init__(self, sizes: list[tuple[int, int] | None]) -> None:
        self.name = "noise"
        self.sizes = sizes
        self.ids = tuple(str(index) for index in range(len(sizes)))

    def read(self, index: int) -> Image.Image:
        size = self.sizes[index]
        if size is None:
            raise UnreadableImage("broken on purpose")
        pixels = np.random.default_rng(index).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)

    def raw_digest(self, index: int) -> bytes:
        return hashlib.sha256(self.ids[index].encode()).digest()


@pytest.fixture
def noise() -> type[Noise]:
    """The class, to be called with a list of sizes."""
    return Noise
