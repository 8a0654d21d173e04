"""Random training crops as a pure function of seed and step, so that a resumed run sees what an uninterrupted one would."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

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
from tokbench.readers import readers
from tokbench.resizing import resized

CACHE_BYTES = 1 << 30

AHEAD = 2
"""Crops that are being made or wait, a thread."""


class RandomCrops:
    """Crops of one shape and of random size, place and orientation, scaled with Lanczos and never enlarged.

    Args:
        source: Where pictures come from; those smaller than ``size`` or unreadable are left out.
        size: Side of the crops in pixels, or height and width.
        scale: Smallest and largest side, as shares of those of the largest crop of this shape: of squares, of a picture's short side.
        seed: Seed of the choice.
        workers: Threads that read and scale; None takes as many as there are cores. No crop depends on them.
    """

    def __init__(self, source: ImageSource, *, size: Size, scale: tuple[float, float], seed: int, workers: int | None = None) -> None:
        self.source, self.size, self.scale, self.seed, self.workers = source, size, scale, seed, readers(workers)
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
        crops = list(self._drawn(rng, batch_size, share or Ranks()))
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()

    def _drawn(self, rng: np.random.Generator, count: int, share: Ranks) -> Iterator[np.ndarray]:
        """Draw crops and make them in threads; one that is not wanted is drawn all the same, so that the next is as it would be.

        Where a picture turns out not to be usable, what was drawn from there on is drawn again, as if that had been known.
        """
        waiting: deque[tuple[dict[str, Any], int, Future[np.ndarray | bool]]] = deque()
        row, rows = 0, count // share.world_size
        with ThreadPoolExecutor(self.workers, thread_name_prefix="tokbench-crop") as pool:
            while row < count or waiting:
                while row < count and len(waiting) < AHEAD * self.workers:
                    state = rng.bit_generator.state
                    index, place = self._pick(rng), rng.random(4)
                    waiting.append((dict(state), row, pool.submit(self._made, index, place, wanted=row // rows == share.rank)))
                    row += 1
                state, first, future = waiting.popleft()
                made = future.result()
                if made is False:
                    rng.bit_generator.state, row = state, first
                    while waiting:
                        waiting.pop()[2].cancel()
                elif made is not True:
                    yield made

    def _pick(self, rng: np.random.Generator) -> int:
        """Draw a picture that may be usable."""
        while len(self._unusable) < len(self.source):
            index = int(rng.integers(len(self.source)))
            if index not in self._unusable:
                return index
        raise TokbenchError(
            f"no image of {self.source.name} can be used for training at {size_text(self.size)} px: all are unreadable or smaller"
        )

    def _made(self, index: int, place: np.ndarray, *, wanted: bool) -> np.ndarray | bool:
        """A crop; True of a picture that can be used and is not wanted, and False of one that cannot be used."""
        if index in self._usable and not wanted:
            return True
        image = self._read(index)
        if image is None or not wanted:
            return image is not None
        along, across, down, mirror = place
        low, high = self.scale
        share, tall, wide = low + (high - low) * along, self._height, self._width
        height = max(float(tall), share * min(image.height, image.width * tall / wide))
        width = max(float(wide), share * min(image.width, image.height * wide / tall))
        left, top = across * (image.width - width), down * (image.height - height)
        crop = resized(image, (wide, tall), Image.Resampling.LANCZOS, (left, top, left + width, top + height))
        pixels = np.asarray(crop)
        return pixels[:, ::-1] if mirror < 0.5 else pixels

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
