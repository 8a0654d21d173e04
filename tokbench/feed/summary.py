"""The summary beside the shards: written when the last one is there, so its presence says that the export is whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from tokbench.configs import build, plain
from tokbench.counting import counted
from tokbench.errors import TokbenchError
from tokbench.feed.job import ExportJob, job_from_dict
from tokbench.feed.shards import DIGEST, ShardFacts, check_rows, read_columns
from tokbench.files import atomic_file
from tokbench.json_files import read_json
from tokbench.records.record import SkippedImage

SUMMARY = ".export.json"
"""Its name; readers of Parquet folders pass over hidden files, and not all of them over those that begin with an underscore."""

MOST_BYTES = 512 * 2**20
"""Most bytes of a summary: it names every image that could not be read, of millions."""


@dataclass(frozen=True)
class Summary:
    """What an export came to.

    Args:
        job: What it is of.
        rows: Images in every shard.
        data_digest: Data digest of ids and source digests of all images, as in a bench record.
        enlarged: Images whose source was smaller than the size asked for.
        skipped: Images that could not be read.
        mean: Mean of every latent channel over the whole set; empty for codes.
        std: Standard deviation of every latent channel.
    """

    job: ExportJob
    rows: tuple[int, ...]
    data_digest: str
    enlarged: int = 0
    skipped: tuple[SkippedImage, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def count(self) -> int:
        """Images in all."""
        return sum(self.rows)


def summarise(folder: Path, job: ExportJob, shards: Mapping[int, ShardFacts]) -> Summary:
    """Sum up all shards of an export, reading their ids.

    Args:
        folder: Where they lie.
        job: What they are of.
        shards: All of them, by number.

    Raises:
        TokbenchError: If a shard is damaged.
    """
    facts = [shards[number] for number in range(job.shards)]
    total = hashlib.sha256()
    for number in range(job.shards):
        path = folder / job.shard_name(number)
        for table in read_columns(path, ["id", DIGEST]):
            check_rows(table, job, ["id", DIGEST], path)
            for name, digest in zip(table.column("id").to_pylist(), table.column(DIGEST).to_pylist(), strict=True):
                total.update(name.encode() + b"\0" + digest)
    parts = [item.moments for item in facts if item.moments is not None]
    moments = reduce(add, parts) if parts else None
    return Summary(
        job=job,
        rows=tuple(item.rows for item in facts),
        data_digest=total.hexdigest(),
        enlarged=sum(item.enlarged for item in facts),
        skipped=tuple(image for item in facts for image in item.skipped),
        mean=moments.mean if moments else (),
        std=moments.std if moments else (),
    )


def write_summary(summary: Summary, folder: Path) -> None:
    """Write the summary, atomically.

    Raises:
        TokbenchError: If it cannot be written.
    """
    with atomic_file(folder / SUMMARY) as file:
        file.write((json.dumps(plain(summary), indent=1, sort_keys=True, allow_nan=False) + "\n").encode())


def read_summary(folder: Path) -> Summary:
    """Read the summary of a whole export.

    Raises:
        TokbenchError: If there is none, or it is damaged.
    """
    path = folder / SUMMARY
    try:
        return summary_from_dict(read_json(path, most=MOST_BYTES), origin=str(path))
    except FileNotFoundError as error:
        found = len(list(folder.glob("tokens-*.parquet")))
        if not found:
            raise TokbenchError(f"{folder} holds no exported tokens; make some with tokbench export") from error
        raise TokbenchError(
            f"the export in {folder} is not finished: it has {counted(found, 'shard')} and no {SUMMARY}; run it again, it goes on "
            "where it stopped"
        ) from error
    except (OSError, ValueError) as error:
        raise TokbenchError(f"{path} is damaged ({error}); delete it and run the export again") from error


def summary_from_dict(values: Any, *, origin: str) -> Summary:
    """Build a summary from plain JSON values.

    Raises:
        TokbenchError: If they are none.
    """
    if not isinstance(values, dict):
        raise TokbenchError(f"{origin} was not written by tokbench export; choose another folder")
    job_from_dict(values.get("job"), origin=origin)
    try:
        summary = build(Summary, values)
        if len(summary.rows) != summary.job.shards:
            raise ValueError(f"it has the rows of {len(summary.rows)} shards, of {summary.job.shards}")
        if any(not 0 <= rows <= summary.job.rows_per_shard for rows in summary.rows):
            raise ValueError("a shard has more rows than images, or fewer than none")
    except ValueError as error:
        raise TokbenchError(f"{origin} is damaged ({error}); delete it and run the export again") from error
    assert isinstance(summary, Summary)
    return summary
