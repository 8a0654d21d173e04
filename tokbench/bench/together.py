"""One pass over images for one protocol or several: each image is read, encoded and decoded once, and every network sees it once.

Protocols share a pass where the tokenizer is given the same pixels under all of them. What comes of each is what a pass of its own gives.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from tokbench.bench.chunks import Chunk, ChunkFacts
from tokbench.bench.compiling import many_graphs
from tokbench.bench.encode import reproducible
from tokbench.bench.identity import trained_on
from tokbench.bench.loader import Batch, Loaded, LoadReport, as_batch, in_background, micro_batches, read_in_background
from tokbench.bench.queues import Sent
from tokbench.bench.regroup import regrouped
from tokbench.bench.seen import observed
from tokbench.records.protocol import Protocol
from tokbench.records.record import SkippedImage

if TYPE_CHECKING:
    from tokbench.bench.prepared import PreparedRun
    from tokbench.bench.under_test import UnderTest


def same_pixels(protocols: Iterable[Protocol]) -> list[list[Protocol]]:
    """Part protocols into those that can share a pass, in the order they were given."""
    groups: list[list[Protocol]] = []
    for protocol in protocols:
        group = next((group for group in groups if group[0].pixels_in == protocol.pixels_in), None)
        if group is None:
            groups.append([protocol])
        else:
            group.append(protocol)
    return groups


def _all(number: int, place: int) -> bool:
    return True


def measure_chunks(
    runs: Sequence[PreparedRun],
    numbers: Collection[int],
    *,
    wanted: Callable[[int, int], bool] = _all,
    done: int = 0,
    total: int | None = None,
) -> Generator[tuple[Chunk | None, ...], None, None]:
    """Measure chunks, reading ahead across their ends.

    Args:
        runs: Runs of one tokenizer on the same pixels; all but the first were prepared beside it.
        numbers: Which chunks, in order.
        wanted: Whether a chunk is wanted by a run, by its number and the place of the run.
        done: Images that were measured before, for whoever watches.
        total: Images in all; None is those of the chunks.

    Yields:
        What came of each chunk for every run; None where it was not wanted.

    Raises:
        Misbehaved: If the tokenizer fails, or breaks its contract.
        TokbenchError: If an image cannot be read, and ``strict`` is set.
    """
    first = runs[0]
    total = sum(len(first.spans[number]) for number in numbers) if total is None else total
    indices = (first.indices[place] for number in numbers for place in first.spans[number])
    options = first.options
    items = read_in_background(first.source, indices, first.protocol, ahead=options.batch_size, workers=options.workers)
    with reproducible(), many_graphs() if first.protocol.compiled else nullcontext(), closing(items):
        for number in numbers:
            chosen = [run if wanted(number, place) else None for place, run in enumerate(runs)]
            yield first._chunk(number, islice(items, len(first.spans[number])), done, total, chosen)
            done += len(first.spans[number])


def measure_chunk(
    runs: Sequence[PreparedRun | None], first: PreparedRun, number: int, items: Iterator[Loaded | SkippedImage], done: int, total: int
) -> tuple[Chunk | None, ...]:
    """Measure one chunk for runs.

    Args:
        runs: Those that want it; None stands for one that does not.
        first: The run that the others were prepared beside.
        number: Number of the chunk.
        items: Its images.
        done: Images that were measured before, for whoever watches.
        total: Images in all.

    Returns:
        What came of it for every run; None where it was not wanted.
    """
    started = time.perf_counter()
    report = LoadReport(requested=len(first.spans[number]))
    saved: list[dict[str, tuple[str, str]]] = [{} for _ in runs]
    own = [0.0] * len(runs)
    places = {first.listing.ids[place]: place for place in first.spans[number]}
    batches = micro_batches(items, first.protocol, report, strict=first.options.strict)
    with closing(_sent(first.under_test, batches, report)) as ready:
        for restored in regrouped(first.under_test.restored(ready), first.protocol.micro_batch):
            shared: dict[str, Any] | None = {} if len(runs) > 1 else None
            for place, run in enumerate(runs):
                if run is not None:
                    begun = time.perf_counter()
                    saved[place] |= run.keep(observed(restored, run.protocol, run.listing, places=places, shared=shared))
                    own[place] += time.perf_counter() - begun
            done += len(restored.ids)
            first.options.progress(done, total)
    cost = first.under_test.cost()
    among = trained_on(first.under_test.training, first.source, report.raw.values())
    common = time.perf_counter() - started - sum(own)
    found: list[Chunk | None] = []
    for place, run in enumerate(runs):
        if run is None:
            found.append(None)
            continue
        states, failures = run.panel.cut()
        facts = ChunkFacts(
            number=number,
            metrics=run.panel.names,
            enlarged=report.enlarged,
            encode_seconds=cost.encode,
            decode_seconds=cost.decode,
            total_seconds=common + own[place],
            device=str(first.under_test.device),
            threads=torch.get_num_threads(),
            trained_on=among,
            failures=failures,
        )
        found.append(Chunk(facts, run.rows_of(number, report, cost.coded, saved[place]), states))
    return tuple(found)


def _sent(under_test: UnderTest, batches: Iterable[list[Loaded]], report: LoadReport) -> Generator[tuple[Batch, Sent], None, None]:
    """Put micro-batches together and send them to the device; one ahead where that has a queue of its own for it, in a thread."""

    def send(images: list[Loaded]) -> tuple[Batch, Sent]:
        batch = as_batch(images, report)
        return batch, under_test.send(batch)

    if not under_test.ahead:
        yield from map(send, batches)
        return
    with closing(in_background(send, batches, ahead=under_test.ahead, workers=1)) as found:
        yield from found
