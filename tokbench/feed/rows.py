"""Rows of an export by their number, read when they are asked for: from Parquet shards or from a memory map."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from tokbench.errors import TokbenchError
from tokbench.feed.memmap import ROWS, open_rows, open_values, read_index
from tokbench.feed.shards import check_rows, damaged, read_group, shard_schema, token_values
from tokbench.feed.summary import Summary


@dataclass(frozen=True)
class Row:
    """One image.

    Args:
        id: Id of the image.
        values: Its tokens, position major.
        label: Its class, if the export has labels; -1 if this image has none.
        caption: Its text, if the export has captions; empty if this image has none.
    """

    id: str
    values: np.ndarray
    label: int | None = None
    caption: str | None = None


class RowStore(Protocol):
    """Rows by number.

    Attributes:
        blocks: Runs of rows that are read together, in order and without gaps.
    """

    blocks: list[range]

    def read(self, index: int) -> Row:
        """One row, from 0."""


class ParquetRows:
    """Rows of Parquet shards; the row groups used last are kept, decoded.

    Args:
        folder: Where the shards lie.
        summary: What they are.
        cached: Row groups that are kept.

    Raises:
        TokbenchError: If a shard is missing.
    """

    def __init__(self, folder: Path, summary: Summary, *, cached: int) -> None:
        """Compute where every row lies; no shard is opened."""
        self._folder, self._job, self._cached = folder, summary.job, cached
        self._places: list[tuple[int, int]] = []
        self.blocks: list[range] = []
        start = 0
        for number, rows in enumerate(summary.rows):
            name = summary.job.shard_name(number)
            if not (folder / name).is_file():
                raise TokbenchError(f"{folder / name} is missing; run the export again, it makes what is missing")
            for group, first in enumerate(range(0, rows, summary.job.group_rows)):
                self._places.append((number, group))
                self.blocks.append(range(start + first, start + min(first + summary.job.group_rows, rows)))
            start += rows
        self._starts = [block.start for block in self.blocks]
        self._columns = [name for name in shard_schema(summary.job).names if name in ("id", "label", "caption", summary.job.column)]
        self._block = lru_cache(maxsize=cached)(self._read)

    def read(self, index: int) -> Row:
        """One row; its row group is decoded if it is not among those kept."""
        block = bisect_right(self._starts, index) - 1
        table, values = self._block(block)
        row = index - self._starts[block]
        return _row(dict(zip(table.column_names, table.columns, strict=True)), row, values[row])

    def _read(self, block: int) -> tuple[pa.Table, np.ndarray]:
        number, group = self._places[block]
        path = self._folder / self._job.shard_name(number)
        table = check_rows(read_group(path, group, self._columns), self._job, self._columns, path)
        if len(table) != len(self.blocks[block]):
            raise damaged(path, ValueError(f"its row group {group} has {len(table)} rows, not {len(self.blocks[block])}"))
        return table.drop_columns([self._job.column]), token_values(table, self._job)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the row groups behind."""
        return {key: value for key, value in self.__dict__.items() if key != "_block"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start with none."""
        self.__dict__.update(state)
        self._block = lru_cache(maxsize=self._cached)(self._read)


class MemmapRows:
    """Rows of a memory map, which the operating system reads and keeps page by page.

    Args:
        folder: What ``write_memmap`` made.

    Raises:
        TokbenchError: If it is not whole.
    """

    def __init__(self, folder: Path) -> None:
        """Map the files."""
        self._folder = folder
        self.summary = read_index(folder)
        self.blocks = [range(self.summary.count)]
        self._open()

    def _open(self) -> None:
        self._values = open_values(self._folder, self.summary)
        self._table = open_rows(self._folder)
        if len(self._table) != self.summary.count:
            raise TokbenchError(f"{self._folder / ROWS} has {len(self._table)} rows, not {self.summary.count}; write the memory map again")
        if "id" not in self._table.column_names or self._table.column("id").null_count:
            raise TokbenchError(f"{self._folder / ROWS} has rows without an id; write the memory map again")
        lengths = [len(chunk) for chunk in self._table.column("id").chunks]
        self._starts: Sequence[int] = np.cumsum([0, *lengths])[:-1].tolist()

    def read(self, index: int) -> Row:
        """One row, copied out of the map."""
        chunk = bisect_right(self._starts, index) - 1
        row = index - self._starts[chunk]
        columns = {name: self._table.column(name).chunk(chunk) for name in self._table.column_names}
        return _row(columns, row, self._values[index].reshape(-1))

    def __getstate__(self) -> dict[str, Any]:
        """Leave the maps behind."""
        return {"_folder": self._folder, "summary": self.summary, "blocks": self.blocks}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Map the files again."""
        self.__dict__.update(state)
        self._open()


def _row(columns: dict[str, Any], row: int, values: np.ndarray) -> Row:
    known: dict[str, Any] = {name: columns[name][row].as_py() for name in ("id", "label", "caption") if name in columns}
    absent: dict[str, Any] = {"label": -1, "caption": ""}
    return Row(values=values, **{name: absent[name] if value is None else value for name, value in known.items()})
