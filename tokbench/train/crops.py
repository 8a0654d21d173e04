"""Random training crops as a pure function of seed and step, so that a resumed run sees what an uninterrupted one would."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.image_size import Size, sides, size_text
from tokbench.images import UnreadableImage
from tokbench.ranks import Ranks

CACHE_BYTES = 1 << 30


class RandomCrops:
    """Crops of one shape and of random size, place and orientation, scaled with Lanczos and never enlarged.

    Args:
        source: Where pictures come from; those smaller than ``size`` or unreadable are left out.
        size: Side of the crops in pixels, or height and width.
        scale: Smallest and largest side, as shares of those of the largest crop of this shape: of squares, of a picture's short side.
        seed: Seed of the choice.
    """

    def __init__(self, source: ImageSource, *, size: Size, scale: tuple[float, float], seed: int) -> None:
        self.source, self.size, self.scale, self.seed = source, size, scale, seed
        self._height, self._width = sides(size)
        self._cache: dict[int, Image.Image] = {}
        self._cached_bytes = 0
        self._usable: set[int] = set()
        self._unusable: set[int] = set()

    def batch(self, step: int, batch_size: int, share: Ranks | None = None) -> UInt8[Tensor, "b 3 h w"]:
        """Draw the batch of one step, or one process's share of it.

        Args:
            step: From 0; the same step gives the same batch.
            batch_size: Images in all; divisible by the number of processes.
            share: Which run of them is taken; None takes all. Every picture that any process draws is read once, to know whether it can
                be used.

        Raises:
            TokbenchError: If no picture of the source can be used.
        """
        rng = np.random.Generator(np.random.PCG64([self.seed, step]))
        share = share or Ranks()
        rows = batch_size // share.world_size
        drawn = [self._crop(rng, wanted=row // rows == share.rank) for row in range(batch_size)]
        crops = [crop for crop in drawn if crop is not None]
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()

    def _crop(self, rng: np.random.Generator, *, wanted: bool) -> np.ndarray | None:
        """Draw a crop; one that is not wanted is drawn all the same, so that the next is as it would be."""
        image = self._pick(rng, wanted=wanted)
        along, across, down, mirror = rng.random(4)
        if image is None or not wanted:
            return None
        low, high = self.scale
        share, tall, wide = low + (high - low) * along, self._height, self._width
        height = max(float(tall), share * min(image.height, image.width * tall / wide))
        width = max(float(wide), share * min(image.width, image.height * wide / tall))
        left, top = across * (image.width - width), down * (image.height - height)
        crop = image.resize((wide, tall), Image.Resampling.LANCZOS, box=(left, top, left + width, top + height))
        pixels = np.asarray(crop)
        return pixels[:, ::-1] if mirror < 0.5 else pixels

    def _pick(self, rng: np.random.Generator, *, wanted: bool) -> Image.Image | None:
        """Draw a picture; None is one that can be used and is not wanted."""
        while len(self._unusable) < len(self.source):
            index = int(rng.integers(len(self.source)))
            if index in self._unusable:
                continue
            if index in self._usable and not wanted:
                return None
            image = self._read(index)
            if image is not None:
                return image
        raise TokbenchError(
            f"no image of {self.source.name} can be used for training at {size_text(self.size)} px: all are unreadable or smaller"
        )

    def _read(self, index: int) -> Image.Image | None:
        if index in self._cache:
            return self._cache[index]
        try:
            image = self.source.read(index)
        except UnreadableImage:
            image = None
        if image is None or image.height < self._height or image.width < self._width:
            self._unusable.add(index)
            return None
        self._usable.add(index)
        if self._cached_bytes < CACHE_BYTES:
            self._cache[index] = image
            self._cached_bytes += 3 * image.width * image.height
        return image
