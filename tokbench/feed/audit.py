"""One pass over the shards of a folder that finds whatever is wrong with them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import reduce
from itertools import pairwise
from operator import add
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tokbench.configs import differences, plain
from tokbench.counting import counted
from tokbench.errors import TokbenchError
from tokbench.feed.compare import Kept
from tokbench.feed.formats.record import refuse_format
from tokbench.feed.job import ExportJob, view_of
from tokbench.feed.memmap import INDEX, ROWS, holds_memmap
from tokbench.feed.moments import Moments
from tokbench.feed.shards import DIGEST, ShardFacts, read_columns, read_facts, shard_schema, token_values
from tokbench.feed.summary import SUMMARY, Summary, read_summary


class Audit:
    """The shards of a folder, their problems, and a sample of their rows.

    Args:
        folder: Where they lie.

    Attributes:
        job: What they are of, as the summary or the first shard says.
        problems: One line each.
        sample: Rows chosen by ``read``.
        shards: Read.
        rows: Read.

    Raises:
        TokbenchError: If there is no export.
    """

    def __init__(self, folder: Path) -> None:
        """Read what the shards say of themselves."""
        self.folder = folder
        self.problems: list[str] = []
        self.sample: list[Kept] = []
        self.shards = self.rows = 0
        self._facts: dict[str, ShardFacts] = {}
        self._last_id: str | None = None
        self._asked, self._made = hashlib.sha256(), hashlib.sha256()
        paths = sorted(folder.glob("*.parquet"))
        _refuse_others(folder, paths)
        if holds_memmap(folder):
            self.problems.append(f"{INDEX} or {ROWS} of a memory map lie among the shards; move them and the .npy file elsewhere")
        self._summary = read_summary(folder) if (folder / SUMMARY).is_file() or not paths else None
        jobs: dict[str, ExportJob] = {}
        for path in paths:
            try:
                jobs[path.name], self._facts[path.name] = read_facts(path)
            except TokbenchError as error:
                self.problems.append(str(error))
        if self._summary is None and not jobs:
            raise _no_whole_shard(folder)
        self.job = self._summary.job if self._summary is not None else next(iter(jobs.values()))
        for name, job in jobs.items():
            if different := differences(job, self.job):
                self.problems.append(f"{name} is of another export: {different}")

    def read(self, *, sample: int, seed: int, progress: Callable[[int, int], None]) -> None:
        """Read every byte, then hold the sums against the summary.

        Args:
            sample: How many rows to keep.
            seed: Seed of their choice.
            progress: Called after every shard with shards read and in all.
        """
        expected = [self.job.shard_name(number) for number in range(self.job.shards)]
        self.problems += [
            f"{name} is not one of the {counted(len(expected), 'shard')}" for name in sorted(set(self._facts) - set(expected))
        ]
        count = sum(facts.rows for facts in self._facts.values())
        generator = np.random.Generator(np.random.PCG64(seed))
        chosen = set(generator.choice(count, min(sample, count), replace=False).tolist())
        for number, name in enumerate(expected):
            if name in self._facts:
                self.problems += self._shard(number, chosen)
                self.shards += 1
            elif not (self.folder / name).exists():
                self.problems.append(f"{name} is missing; run the export again, it makes what is missing")
            progress(number + 1, len(expected))
        if self._summary is None:
            self.problems.append(f"{SUMMARY} is missing: the export is not finished; run it again, it goes on where it stopped")
        elif self.shards == len(expected):
            self.problems += self._against(self._summary, [self._facts[name] for name in expected])

    def _shard(self, number: int, chosen: set[int]) -> Iterator[str]:
        job, name, first = self.job, self.job.shard_name(number), self.rows
        path, facts = self.folder / name, self._facts[name]
        if facts.number != number:
            yield f"{name} says it is shard {facts.number}"
        if facts.rows + len(facts.skipped) != len(job.span(number)):
            yield f"{name} has {counted(facts.rows, 'row')} and {counted(len(facts.skipped), 'skipped image')}, of {len(job.span(number))} asked for"
        moments, found = [Moments.of(np.empty((0, job.width), np.float32))], dict[str, None]()
        asked = [image.id for image in facts.skipped]
        try:
            schema = pq.read_schema(path)
            if not schema.equals(shard_schema(job)):
                yield f"{name} has other columns than its job: {', '.join(f'{item.name} {item.type}' for item in schema)}"
                return
            for table in read_columns(path):
                if any(table.column(column).null_count for column in ("id", DIGEST, job.column)):
                    yield f"{name} has rows without id, tokens or digest"
                    return
                values = token_values(table, job)
                asked += table.column("id").to_pylist()
                found |= dict.fromkeys(self._rows(table, values, name))
                self.sample += [_kept(table, values, row) for row in range(len(table)) if self.rows + row in chosen]
                self.rows += len(table)
                if not job.layout.discrete:
                    moments.append(Moments.of(values.reshape(-1, job.width)))
        except TokbenchError as error:
            yield str(error)
            return
        yield from found
        for image in sorted(asked, key=self._place):
            self._asked.update(image.encode() + b"\0")
        if self.rows - first != facts.rows:
            yield f"{name} holds {counted(self.rows - first, 'row')} and announces {facts.rows}"
        if facts.moments is not None and not _close(reduce(add, moments), facts.moments):
            yield f"{name} announces another mean or deviation than its latents have"

    def _rows(self, table: pa.Table, values: np.ndarray, name: str) -> Iterator[str]:
        """Check one row group. Ids rise over the whole export, so one that comes twice is found without remembering them all."""
        ids, digests = table.column("id").to_pylist(), table.column(DIGEST).to_pylist()
        for before, after in pairwise(ids if self._last_id is None else [self._last_id, *ids]):
            if self._place(before) >= self._place(after):
                yield f"{name} has the id {after} twice" if before == after else f"{name} has the id {after} out of order, or twice"
                break
        self._last_id = ids[-1] if ids else self._last_id
        for image, digest in zip(ids, digests, strict=True):
            self._made.update(image.encode() + b"\0" + digest)
        if not self.job.layout.discrete:
            if not np.isfinite(values).all():
                yield f"{name} has latents that are not finite"
            return
        for k, size in enumerate(self.job.layout.codebook_sizes):
            largest = int(values[:, k :: self.job.width].max(initial=0))
            if largest >= size:
                yield f"{name} has codes of codebook {k} up to {largest}, allowed is 0..{size - 1}"

    def _place(self, name: str) -> tuple[str, int]:
        """What ids are ordered by: the image, then the view."""
        return view_of(name) if self.job.views > 1 else (name, 0)

    def _against(self, summary: Summary, facts: list[ShardFacts]) -> Iterator[str]:
        skipped = [image for item in facts for image in item.skipped]
        if tuple(item.rows for item in facts) != summary.rows or self.rows != summary.count:
            yield f"the shards hold {counted(self.rows, 'row')}, {SUMMARY} says {summary.count}"
        if plain(skipped) != plain(summary.skipped):
            yield f"the shards name {counted(len(skipped), 'skipped image')}, {SUMMARY} names {len(summary.skipped)} or others"
        if self._asked.hexdigest() != self.job.data.ids_sha256:
            yield f"ids of rows and skipped images are not those of the {counted(self.job.data.count, 'image')} asked for"
        if self._made.hexdigest() != summary.data_digest:
            yield f"ids and source digests of the rows do not give the data digest of {SUMMARY}"
        moments = [item.moments for item in facts if item.moments is not None]
        if moments and (reduce(add, moments).mean, reduce(add, moments).std) != (summary.mean, summary.std):
            yield f"means and deviations of the shards do not give those of {SUMMARY}"


def read_job(folder: Path) -> ExportJob:
    """Read what an export is of, finished or not.

    Raises:
        TokbenchError: If there is none.
    """
    paths = sorted(folder.glob("*.parquet"))
    _refuse_others(folder, paths)
    if (folder / SUMMARY).is_file() or not paths:
        return read_summary(folder).job
    for path in paths:
        with suppress(TokbenchError):
            return read_facts(path)[0]
    raise _no_whole_shard(folder)


def _refuse_others(folder: Path, shards: list[Path]) -> None:
    refuse_format(folder)
    if not shards and holds_memmap(folder):
        raise TokbenchError(f"{folder} is a memory map, which is verified through its shards; give the folder of the export")


def _no_whole_shard(folder: Path) -> TokbenchError:
    return TokbenchError(f"{folder} holds no whole shard of an export; make some with tokbench export")


def _kept(table: pa.Table, values: np.ndarray, row: int) -> Kept:
    known = {name: table.column(name)[row].as_py() for name in ("label", "caption") if name in table.column_names}
    return Kept(table.column("id")[row].as_py(), values[row].copy(), table.column(DIGEST)[row].as_py(), **known)


def _close(one: Moments, other: Moments) -> bool:
    pairs = [*zip(one.mean, other.mean, strict=True), *zip(one.std, other.std, strict=True)]
    return one.count == other.count and all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) for a, b in pairs)
