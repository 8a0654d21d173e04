"""One shard: a Parquet file of some of the rows, with the whole job in its metadata."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tokbench.configs import build, canonical_json
from tokbench.errors import TokbenchError
from tokbench.feed.job import ExportJob, job_from_dict
from tokbench.feed.moments import Moments
from tokbench.files import atomic_file
from tokbench.json_files import parse_json
from tokbench.records.record import SkippedImage

KEY = b"tokbench"
"""Where the schema's metadata hold the job and the shard's own facts, as JSON."""

DIGEST = "source_sha256"
"""Column with the SHA-256 of what each image was made from, as the bench digests it."""


@dataclass(frozen=True)
class ShardFacts:
    """What is known of one shard.

    Args:
        number: From 0.
        rows: Images in it.
        enlarged: Images whose source was smaller than the size asked for.
        skipped: Images asked for that could not be read.
        moments: Moments of its latents; None for codes.
    """

    number: int
    rows: int
    enlarged: int
    skipped: tuple[SkippedImage, ...] = ()
    moments: Moments | None = None


class ShardRows:
    """The rows of one shard, gathered in memory.

    Args:
        job: The export.
        number: Number of the shard.
    """

    def __init__(self, job: ExportJob, number: int) -> None:
        self.job, self.number = job, number
        self.ids: list[str] = []
        self.labels: list[int | None] = []
        self.captions: list[str | None] = []
        self.digests: list[bytes] = []
        self._values = np.empty((len(job.span(number)), job.values), job.dtype)

    def append(self, ids: Sequence[str], values: np.ndarray, digests: Sequence[bytes]) -> None:
        """Add the images of a micro-batch."""
        start = len(self.ids)
        self._values[start : start + len(ids)] = values
        self.ids += ids
        self.digests += digests

    def write(self, folder: Path, *, enlarged: int, skipped: Sequence[SkippedImage]) -> ShardFacts:
        """Write the shard, atomically; equal rows give equal bytes.

        Raises:
            TokbenchError: If it cannot be written.
        """
        job, values = self.job, self._values[: len(self.ids)]
        moments = None if job.layout.discrete else Moments.of(values.reshape(-1, job.width))
        facts = ShardFacts(self.number, len(self.ids), enlarged, tuple(skipped), moments)
        schema = shard_schema(job)
        column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), job.values)
        columns = {"id": self.ids, "label": self.labels, "caption": self.captions, DIGEST: self.digests}
        arrays = [column if field.name == job.column else pa.array(columns[field.name], field.type) for field in schema]
        about = canonical_json({"job": job, "shard": facts, "shards": job.shards}).encode()
        table = pa.Table.from_arrays(arrays, schema=schema.with_metadata({KEY: about}))
        repetitive = {"label": "label", "codes": "codes.list.element"}  # ids, texts and floats hardly repeat
        with atomic_file(folder / job.shard_name(self.number)) as file:
            pq.write_table(
                table,
                file,
                row_group_size=job.group_rows,
                compression="zstd",
                use_dictionary=[path for name, path in repetitive.items() if name in schema.names],
                write_page_checksum=True,
            )
        return facts


def shard_schema(job: ExportJob) -> pa.Schema:
    """Columns of every shard: ``id``, ``label`` and ``caption`` if there are any, the tokens, and ``source_sha256``."""
    fields = [pa.field("id", pa.string())]
    fields += [pa.field("label", pa.int32())] if job.labels != "none" else []
    fields += [pa.field("caption", pa.string())] if job.captions else []
    fields += [pa.field(job.column, pa.list_(pa.from_numpy_dtype(np.dtype(job.dtype)), job.values)), pa.field(DIGEST, pa.binary())]
    return pa.schema(fields)


def read_facts(path: Path) -> tuple[ExportJob, ShardFacts]:
    """Read what a shard says of itself, from its end alone.

    Raises:
        TokbenchError: If it is not a whole shard of an export.
    """
    try:
        footer = pq.read_metadata(path)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise damaged(path, error) from error
    try:
        values = parse_json((footer.metadata or {}).get(KEY, b"null"))
        if not isinstance(values, dict):
            raise TokbenchError(f"{path} was not written by tokbench export; choose another --out")
        job = job_from_dict(values.get("job"), origin=str(path))
        return job, _facts(values.get("shard"), footer.num_rows)
    except ValueError as error:
        raise damaged(path, error) from error


def _facts(values: Any, rows: int) -> ShardFacts:
    facts = build(ShardFacts, values, "shard")
    assert isinstance(facts, ShardFacts)
    if facts.rows != rows:
        raise ValueError(f"it holds {rows} rows and announces {facts.rows}")
    return facts


def read_columns(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Read a shard row group by row group, checking every page against its checksum.

    Args:
        path: The shard.
        columns: Names of columns; None takes all.

    Yields:
        Tables.

    Raises:
        TokbenchError: If it is damaged.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, columns=columns, use_threads=False)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise damaged(path, error) from error


def read_group(path: Path, group: int, columns: Sequence[str]) -> pa.Table:
    """Read one row group of a shard, which is not kept open: there may be more shards than file descriptors.

    Raises:
        TokbenchError: If it is damaged.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            return file.read_row_group(group, columns=columns, use_threads=False)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise damaged(path, error) from error


def token_values(table: pa.Table, job: ExportJob) -> np.ndarray:
    """The tokens of a table's rows, ``[rows, values]``, without a copy where there is one chunk."""
    column = table.column(job.column).combine_chunks()
    parts = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    arrays = [part.flatten().to_numpy(zero_copy_only=False).reshape(-1, job.values) for part in parts]
    return arrays[0] if len(arrays) == 1 else np.concatenate([np.empty((0, job.values), job.dtype), *arrays])


def check_rows(table: pa.Table, job: ExportJob, names: Sequence[str], path: Path) -> pa.Table:
    """The same table, after a look whether it has these columns, of the types of the job, with an id, tokens and digest in every row.

    Raises:
        TokbenchError: If it has not: another program wrote the shard.
    """
    expected = shard_schema(job)
    for name in names:
        if name not in table.column_names or table.schema.field(name).type != expected.field(name).type:
            raise damaged(path, ValueError(f"its column {name} is missing or of another type"))
        if name in ("id", DIGEST, job.column) and table.column(name).null_count:
            raise damaged(path, ValueError(f"some of its rows have no {name}"))
    return table


def damaged(path: Path, error: Exception) -> TokbenchError:
    """Build the error for a shard that cannot be read, to be raised by the caller."""
    with suppress(OSError):
        if not path.exists():
            return TokbenchError(f"{path} is missing; run the export again, it makes what is missing")
    return TokbenchError(f"{path} is damaged ({error}); delete it and run the export again, it makes what is missing")
