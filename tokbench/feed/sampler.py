"""The order in which rows are trained on: shuffled by seed and epoch alone, and gone on with from any position."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from tokbench.feed.dataset import TokenDataset
from tokbench.ranks import Ranks


class TokenSampler(Sampler[int]):
    """Shuffles the rows of a data set, a new way in every epoch.

    Blocks of rows come in random order, and the rows of ``blocks_at_once`` of them are mixed. So each block is decoded once an epoch,
    whatever the size of the set. The order follows from data, seed, epoch and ``blocks_at_once`` alone. With several ranks each takes
    every ``world_size``-th row; the last rows of the order, which would not be the same number for all, are left out that epoch.

    Args:
        dataset: What is shuffled.
        seed: Seed of all epochs.
        epoch: The first one.
        position: Rows of this rank in this epoch that have been trained on already.
        blocks_at_once: Blocks mixed with each other; None takes as many as the data set keeps.
        ranks: Which process of how many this is.

    Raises:
        ValueError: If a number is negative, or the position is behind the end.
    """

    def __init__(
        self,
        dataset: TokenDataset,
        *,
        seed: int,
        epoch: int = 0,
        position: int = 0,
        blocks_at_once: int | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        """Compute nothing yet."""
        self._blocks = dataset.blocks
        self._at_once = dataset.cached_blocks if blocks_at_once is None else blocks_at_once
        if self._at_once < 1:
            raise ValueError(f"blocks_at_once must be at least 1, got {self._at_once}")
        self._ranks = ranks or Ranks()
        self._rows = len(dataset) // self._ranks.world_size
        self.seed = seed
        self.set_epoch(epoch, position=position)

    def set_epoch(self, epoch: int, *, position: int = 0) -> None:
        """Choose the epoch, and where in it to start.

        A loader with workers asks ahead of what is trained on, so the position to save is the trainer's own count of rows.
        """
        if epoch < 0 or not 0 <= position <= self._rows:
            raise ValueError(f"epoch must not be negative and position 0 to {self._rows}, got {epoch} and {position}")
        self.epoch, self.position = epoch, position

    def __len__(self) -> int:
        return self._rows - self.position

    def __iter__(self) -> Iterator[int]:
        rank, world_size = self._ranks.rank, self._ranks.world_size
        wanted, start, end = self.position * world_size + rank, 0, self._rows * world_size
        blocks = self._generator("blocks").permutation(len(self._blocks))
        for window in range(0, len(blocks), self._at_once):
            mixed = [self._blocks[block] for block in blocks[window : window + self._at_once]]
            stop = start + sum(map(len, mixed))
            if wanted < min(stop, end):
                rows = np.concatenate([np.arange(block.start, block.stop) for block in mixed])
                rows = self._generator(f"rows {window}").permutation(rows)
                places = range(wanted, min(stop, end), world_size)
                yield from rows[places.start - start : places.stop - start : world_size].tolist()
                wanted += len(places) * world_size
            start = stop

    def _generator(self, purpose: str) -> np.random.Generator:
        digest = hashlib.sha256(f"{self.seed}\0{self.epoch}\0{purpose}".encode()).digest()
        return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))
