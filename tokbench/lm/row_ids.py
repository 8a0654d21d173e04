"""The ids of an export, without its tokens."""

from __future__ import annotations

from collections.abc import Iterator

from tokbench.feed.dataset import TokenDataset
from tokbench.feed.memmap import INDEX, open_rows
from tokbench.feed.shards import read_columns


def ids_of(data: TokenDataset) -> Iterator[str]:
    """Read the ids of all rows, in order."""
    if (data.folder / INDEX).is_file():
        for chunk in open_rows(data.folder).column("id").chunks:
            yield from (name.as_py() for name in chunk)
        return
    for number in range(data.job.shards):
        for table in read_columns(data.folder / data.job.shard_name(number), ["id"]):
            yield from table.column("id").to_pylist()
