"""The order in which rows are learned from: a function of seed and place alone, so that a training goes on from any step.

``TokenSampler`` walks the same kind of order; here any place is looked up, without walking there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

BLOCK = 1024
"""Most rows of a block: a memory map is one block, and would be mixed as a whole."""


class Order:
    """Rows shuffled anew in every epoch.

    Blocks of rows come in random order, and the rows of some blocks at a time are mixed. So rows that are read together are used together,
    and what is kept in memory does not depend on how many there are.

    Args:
        blocks: Runs of rows that are read together, in order.
        kept: The rows to use, ascending; None uses all.
        seed: Seed of all epochs.
        at_once: Blocks that are mixed with each other.

    Raises:
        ValueError: If there are no rows, or ``at_once`` is not positive.
    """

    def __init__(self, blocks: Sequence[range], *, kept: np.ndarray | None = None, seed: int, at_once: int = 16) -> None:
        if at_once < 1:
            raise ValueError(f"at_once must be at least 1, got {at_once}")
        parts = [range(start, min(start + BLOCK, block.stop)) for block in blocks for start in range(block.start, block.stop, BLOCK)]
        self._kept, self._seed, self._at_once = kept, seed, at_once
        if kept is None:
            bounds = [(part.start, part.stop) for part in parts]
        else:
            edges = np.searchsorted(kept, [edge for part in parts for edge in (part.start, part.stop)]).reshape(-1, 2)
            bounds = [(int(start), int(stop)) for start, stop in edges if stop > start]
        self._blocks = np.array(bounds, dtype=np.int64).reshape(-1, 2)
        self.rows = int((self._blocks[:, 1] - self._blocks[:, 0]).sum())
        if not self.rows:
            raise ValueError("there are no rows to learn from")
        self._windows_of = lru_cache(maxsize=2)(self._windows)
        self._mixed_of = lru_cache(maxsize=8)(self._mixed)

    def __len__(self) -> int:
        return self.rows

    def row(self, place: int) -> int:
        """Say which row comes at a place, counted over all epochs from 0."""
        epoch, offset = divmod(place, self.rows)
        window, start = self._window(epoch, offset)
        return int(self._mixed_of(epoch, window)[offset - start])

    def another(self, place: int, choice: int) -> int:
        """Say which row some other place near this one has; the same row only where there is no other.

        Args:
            place: As for ``row``.
            choice: Any number; which of the others it is.
        """
        epoch, offset = divmod(place, self.rows)
        window, start = self._window(epoch, offset)
        mixed = self._mixed_of(epoch, window)
        if len(mixed) == 1:
            return int(mixed[0])
        return int(mixed[(offset - start + 1 + choice % (len(mixed) - 1)) % len(mixed)])

    def _window(self, epoch: int, offset: int) -> tuple[int, int]:
        """The window that an offset within an epoch falls into, and where that begins."""
        _, ends = self._windows_of(epoch)
        window = int(np.searchsorted(ends, offset, side="right"))
        return window, int(ends[window - 1]) if window else 0

    def _windows(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Blocks of an epoch in their order, and the ends of the windows in rows."""
        blocks = self._generator(f"{epoch} blocks").permutation(len(self._blocks))
        sizes = self._blocks[blocks, 1] - self._blocks[blocks, 0]
        return blocks, np.cumsum([sizes[start : start + self._at_once].sum() for start in range(0, len(sizes), self._at_once)])

    def _mixed(self, epoch: int, window: int) -> np.ndarray:
        blocks = self._windows_of(epoch)[0][window * self._at_once : (window + 1) * self._at_once]
        places = np.concatenate([np.arange(*self._blocks[block]) for block in blocks])
        rows = places if self._kept is None else self._kept[places]
        return self._generator(f"{epoch} rows {window}").permutation(rows)

    def _generator(self, purpose: str) -> np.random.Generator:
        return generator(self._seed, purpose)


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Make a generator that follows from a seed and a purpose alone, on every machine.

    Args:
        seed: Seed of all of them.
        purpose: What tells it from others.
    """
    digest = hashlib.sha256(f"{seed}\0{purpose}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))
