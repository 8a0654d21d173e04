"""Exported tokens as a torch data set: any row at any time, from Parquet shards or a memory map, in any number of workers."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any, SupportsIndex

import torch
from torch import Tensor
from torch.utils.data import Dataset

from tokbench.errors import TokbenchError
from tokbench.feed.memmap import INDEX, ROWS, holds_export
from tokbench.feed.rows import MemmapRows, ParquetRows, Row, RowStore
from tokbench.feed.stored import as_tokens
from tokbench.feed.summary import read_summary
from tokbench.tokens import DiscreteTokens


class TokenDataset(Dataset[dict[str, Any]]):
    """The rows of a whole export, in the order in which images were read. Nothing is read before it is asked for.

    An item is a dictionary of ``id``, ``codes`` int64 ``[L, K]`` (or ``latents`` float32 ``[L, C]``) and ``grid``. If the export has any,
    it also holds ``label``, -1 where an image has none, and ``caption``, empty where it has none. The ``default_collate`` of torch takes
    it.

    Args:
        folder: Folder of shards, or what ``write_memmap`` made.
        cached_blocks: Row groups of shards that each process keeps decoded; ``TokenSampler`` draws from as many at a time.

    Attributes:
        folder: Where it lies.
        job: What was exported: tokenizer, layout, preparation, data.
        summary: What it came to.
        blocks: Runs of rows that are read together.

    Raises:
        TokbenchError: If the folder holds no whole export, or an export and a memory map.
        ValueError: If ``cached_blocks`` is not positive.
    """

    def __init__(self, folder: str | Path, *, cached_blocks: int = 16) -> None:
        """Read the summary."""
        if cached_blocks < 1:
            raise ValueError(f"cached_blocks must be at least 1, got {cached_blocks}")
        self.folder = folder = Path(folder)
        self._rows: RowStore
        if (folder / INDEX).is_file():
            if holds_export(folder):
                raise TokbenchError(
                    f"{folder} holds an export and a memory map, maybe of another one; move {INDEX}, {ROWS} and the .npy file elsewhere, "
                    "or the shards"
                )
            mapped = MemmapRows(folder)
            self._rows, self.summary = mapped, mapped.summary
        else:
            self.summary = read_summary(folder)
            self._rows = ParquetRows(folder, self.summary, cached=cached_blocks)
        self.job, self.blocks, self.cached_blocks = self.summary.job, self._rows.blocks, cached_blocks

    @property
    def grid(self) -> tuple[int, ...]:
        """``(h, w)`` in raster order, or ``(n,)``."""
        return self.job.layout.grid

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """K sizes; empty for latents."""
        return self.job.layout.codebook_sizes

    @property
    def label_names(self) -> tuple[str, ...]:
        """What labels stand for; empty if they have no names."""
        return self.job.label_names

    @property
    def mean(self) -> Tensor:
        """Mean of every latent channel over the set, ``[C]``; empty for codes."""
        return torch.tensor(self.summary.mean, dtype=torch.float32)

    @property
    def std(self) -> Tensor:
        """Standard deviation of every latent channel over the set, ``[C]``; empty for codes."""
        return torch.tensor(self.summary.std, dtype=torch.float32)

    def __len__(self) -> int:
        return self.summary.count

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        place = operator.index(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"row {place} of {len(self)}")
        return self._item(self._rows.read(place % len(self)))

    def _item(self, row: Row) -> dict[str, Any]:
        try:
            tokens = as_tokens(row.values[None], self.job)
        except ValueError as error:
            raise TokbenchError(f"the tokens of {row.id!r} in {self.folder} are damaged ({error}); verify the export") from error
        values = tokens.codes[0] if isinstance(tokens, DiscreteTokens) else tokens.latents[0]
        item = {"id": row.id, self.job.column: values, "grid": self.grid, "label": row.label, "caption": row.caption}
        return {key: value for key, value in item.items() if value is not None}
