"""Random training crops as a pure function of seed and step, so that a resumed run sees what an uninterrupted one would."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.images import UnreadableImage

CACHE_BYTES = 1 << 30


class RandomCrops:
    """Square crops of random size, place and orientation, scaled with Lanczos and never enlarged.

    Args:
        source: Where pictures come from; those smaller than ``size`` or unreadable are left out.
        size: Side of the crops in pixels.
        scale: Smallest and largest side, as shares of a picture's short side.
        seed: Seed of the choice.
    """

    def __init__(self, source: ImageSource, *, size: int, scale: tuple[float, float], seed: int) -> None:
        self.source, self.size, self.scale, self.seed = source, size, scale, seed
        self._cache: dict[int, Image.Image] = {}
        self._cached_bytes = 0
        self._unusable: set[int] = set()

    def batch(self, step: int, batch_size: int) -> UInt8[Tensor, "b 3 s s"]:
        """Draw the batch of one step.

        Args:
            step: From 0; the same step gives the same batch.
            batch_size: Images.

        Raises:
            TokbenchError: If no picture of the source can be used.
        """
        rng = np.random.Generator(np.random.PCG64([self.seed, step]))
        crops = [self._crop(rng) for _ in range(batch_size)]
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()

    def _crop(self, rng: np.random.Generator) -> np.ndarray:
        image = self._pick(rng)
        short = min(image.size)
        low, high = self.scale
        side = max(float(self.size), (low + (high - low) * rng.random()) * short)
        left, top = rng.random() * (image.width - side), rng.random() * (image.height - side)
        crop = image.resize((self.size, self.size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
        pixels = np.asarray(crop)
        return pixels[:, ::-1] if rng.random() < 0.5 else pixels

    def _pick(self, rng: np.random.Generator) -> Image.Image:
        while len(self._unusable) < len(self.source):
            index = int(rng.integers(len(self.source)))
            if index in self._unusable:
                continue
            image = self._read(index)
            if image is not None:
                return image
        raise TokbenchError(f"no image of {self.source.name} can be used for training at {self.size} px: all are unreadable or smaller")

    def _read(self, index: int) -> Image.Image | None:
        if index in self._cache:
            return self._cache[index]
        try:
            image = self.source.read(index)
        except UnreadableImage:
            image = None
        if image is None or min(image.size) < self.size:
            self._unusable.add(index)
            return None
        if self._cached_bytes < CACHE_BYTES:
            self._cache[index] = image
            self._cached_bytes += 3 * image.width * image.height
        return image
