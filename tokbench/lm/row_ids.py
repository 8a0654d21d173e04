"""Columns of an export, without its tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tokbench.feed.dataset import TokenDataset
from tokbench.feed.memmap import INDEX, open_rows
from tokbench.feed.shards import DIGEST, read_columns


def ids_of(data: TokenDataset) -> Iterator[str]:
    """Read the ids of all rows, in order."""
    return _column(data, "id")


def captions_of(data: TokenDataset) -> Iterator[str | None]:
    """Read the captions of all rows, in order; nothing if the export has none."""
    return _column(data, "caption") if data.job.captions else iter(())


def digests_of(data: TokenDataset) -> Iterator[bytes]:
    """Read the digests of what all rows were made from, in order."""
    return _column(data, DIGEST)


def _column(data: TokenDataset, name: str) -> Iterator[Any]:
    if (data.folder / INDEX).is_file():
        for chunk in open_rows(data.folder).column(name).chunks:
            yield from (value.as_py() for value in chunk)
        return
    for number in range(data.job.shards):
        for table in read_columns(data.folder / data.job.shard_name(number), [name]):
            yield from table.column(name).to_pylist()
