"""The rows of a whole export in their order, a row group at a time, checked on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tokbench.errors import TokbenchError
from tokbench.feed.job import ExportJob, view_of
from tokbench.feed.shards import check_rows, read_columns, shard_schema, token_values
from tokbench.feed.stored import as_tokens
from tokbench.feed.summary import Summary
from tokbench.tokens import Tokens


@dataclass(frozen=True)
class RowGroup:
    """Some rows of a shard.

    Args:
        ids: Id of every row.
        tokens: Its tokens, on the CPU.
        labels: Its class; None where it has none, or the export has no labels.
        captions: Its text; likewise.
    """

    ids: list[str]
    tokens: Tokens
    labels: list[int | None] = field(default_factory=list)
    captions: list[str | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class ExportRows:
    """The rows of an export, never more than a row group in memory.

    Args:
        folder: Where the shards lie.
        summary: What they are.
    """

    folder: Path
    summary: Summary

    @property
    def job(self) -> ExportJob:
        """What was exported."""
        return self.summary.job

    def __iter__(self) -> Iterator[RowGroup]:
        """Read all shards.

        Raises:
            TokbenchError: If one is missing or damaged.
        """
        for number in range(self.job.shards):
            yield from self.shard(number)

    def shard(self, number: int) -> Iterator[RowGroup]:
        """Read one shard.

        Raises:
            TokbenchError: If it is missing or damaged, or has other rows than the summary says.
        """
        job, path, count = self.job, self.folder / self.job.shard_name(number), 0
        columns = [name for name in shard_schema(job).names if name in ("id", "label", "caption", job.column)]
        for table in read_columns(path, columns):
            check_rows(table, job, columns, path)
            if not len(table):
                continue  # a shard of which no image could be read has a row group all the same
            ids = table.column("id").to_pylist()
            try:
                tokens = as_tokens(token_values(table, job), job)
            except ValueError as error:
                raise TokbenchError(f"the tokens in {path} are damaged ({error}); verify the export") from error
            known = {name: table.column(name).to_pylist() for name in ("label", "caption") if name in columns}
            absent = [None] * len(ids)
            count += len(ids)
            yield RowGroup(ids, tokens, known.get("label", absent), known.get("caption", absent))
        if count != self.summary.rows[number]:
            raise TokbenchError(
                f"{path} has {count} rows, the summary says {self.summary.rows[number]}; verify the export to see what is wrong"
            )


def whole_images(rows: ExportRows) -> Iterator[list[tuple[RowGroup, int]]]:
    """Gather the rows of every image: one, or all of its views in their order, each as a row group and a place in it.

    Raises:
        TokbenchError: If views are missing or out of order, or a shard is damaged.
    """
    count, image = rows.job.views, list[tuple[RowGroup, int]]()
    for group in rows:
        for row, name in enumerate(group.ids):
            image.append((group, row))
            first, before = image[0]
            if count > 1 and view_of(name) != (view_of(first.ids[before])[0], len(image) - 1):
                raise TokbenchError(f"{name} of {rows.folder} is not where it belongs among the views of its image; verify the export")
            if len(image) == count:
                yield image
                image = []
    if image:
        raise TokbenchError(f"the last image of {rows.folder} has {len(image)} of {count} views; verify the export")


def class_of(group: RowGroup, row: int) -> int:
    """The class of a row, where every row needs one.

    Raises:
        TokbenchError: If it has none.
    """
    label = group.labels[row]
    if label is None:
        raise TokbenchError(
            f"{group.ids[row]} has no label, and every image needs one in this format; give it one, or choose another format"
        )
    return label
