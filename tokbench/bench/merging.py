"""From the chunks of a run to its record: merged in their order, so that figures do not depend on who measured which."""

from __future__ import annotations

import hashlib
import statistics
import time
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from tokbench.bench.chunks import Chunk
from tokbench.bench.environment import environment
from tokbench.bench.facts import DataFacts, RunFacts
from tokbench.bench.loader import LoadReport, none_readable
from tokbench.bench.observation import Subject
from tokbench.bench.panel import Panel
from tokbench.errors import TokbenchError
from tokbench.layout import TokenLayout
from tokbench.records.image_values import ImageValues
from tokbench.records.intervals import Interval, group_bootstrap, median_interval
from tokbench.records.protocol import Protocol
from tokbench.records.record import DataInfo, Record, SkippedImage, Timing, TokensInfo


@dataclass(frozen=True)
class Evaluation:
    """A record and the per-image rows behind it.

    Args:
        record: The record.
        rows: Column to image id to value.
        failures: One line for every metric that failed; its reason in the record says the same.
    """

    record: Record
    rows: Mapping[str, Mapping[str, float]]
    failures: tuple[str, ...] = ()


class Merging:
    """Takes in the chunks of a run one by one, and makes its record of them.

    Args:
        facts: What the run is of.
        data: Which images it asks for.
        panel: Its metrics.
    """

    def __init__(self, facts: RunFacts, data: DataFacts, panel: Panel) -> None:
        self.facts, self.data, self.panel = facts, data, panel
        self.skipped: list[SkippedImage] = []
        self._skipped_places: list[int] = []
        self.saved: dict[str, tuple[str, str]] = {}
        self._next = self._enlarged = 0
        self._requested = 0
        self._coded, self._coded_places = array("d"), array("q")  # bytes that a codec made of an image, and which one it is
        self._source, self._pixels = hashlib.sha256(), hashlib.sha256()
        self._encode: list[float] = []
        self._decode: list[float] = []
        self._seconds = 0.0
        self._where = ("cpu", 1)
        self._trained_on: set[bool | None] = set()

    def add(self, chunk: Chunk, *, own: bool) -> None:
        """Take in the next chunk.

        Args:
            chunk: What came of it.
            own: Whether the panel itself measured it.

        Raises:
            TokbenchError: If it is not the next one, or lacks what metrics of the run keep.
        """
        started, facts = time.perf_counter(), chunk.facts
        if facts.number != self._next:
            raise TokbenchError(f"chunk {facts.number} comes where chunk {self._next} belongs; measure the run again")
        if set(facts.metrics) != set(self.panel.names):
            raise TokbenchError(f"chunk {facts.number} was measured with other metrics than the run; measure the run again")
        self._next += 1
        self.panel.merge(chunk.states, facts.failures, own=own)
        for place, row in enumerate(chunk.rows, self._requested):
            if row.source is None or row.pixels is None:
                self.skipped.append(SkippedImage(row.id, row.skipped or "it cannot be read"))
                self._skipped_places.append(place)
                continue
            self._source.update(row.id.encode() + b"\0" + row.source)
            self._pixels.update(row.id.encode() + b"\0" + row.pixels)
            if row.coded is not None:
                self._coded.append(row.coded)
                self._coded_places.append(place)
            if row.saved is not None:
                self.saved[row.id] = row.saved
        self._requested += len(chunk.rows)
        self._where = self._where if facts.number else (facts.device, facts.threads)
        self._encode += facts.encode_seconds
        self._decode += facts.decode_seconds
        self._enlarged += facts.enlarged
        self._trained_on.add(facts.trained_on)
        self._seconds += facts.total_seconds + time.perf_counter() - started

    def finish(self) -> Evaluation:
        """Read the metrics and make the record.

        Raises:
            TokbenchError: If no image can be read.
        """
        started, facts, protocol = time.perf_counter(), self.facts, self.facts.protocol
        count = self._requested - len(self.skipped)
        if not count:
            raise none_readable(facts.data, LoadReport(requested=self._requested, skipped=self.skipped))
        measured = Subject(facts.layout, count, protocol.seen_at)
        results, rows, codebooks = self.panel.finish(measured, facts.tokenizer.trained_with)
        skipped = {image.id for image in self.skipped}
        rows = {column: values.leaving_out(skipped) for column, values in rows.items()}
        listing = self.panel.listing
        bits, places = 8.0 * np.array(self._coded), np.array(self._coded_places)
        if self._coded:
            rows = {"bits_per_image": ImageValues.at(listing.names, places, bits)} | rows
        seconds = self._seconds + time.perf_counter() - started
        record = Record(
            tokenizer=facts.tokenizer,
            data=self._data_info(),
            protocol=protocol,
            protocol_label=protocol.label,
            metrics=results,
            tokens=_tokens_info(facts.layout, protocol, bits, listing.numbers[places] if self._coded else places),
            timing=_timing(self._encode, self._decode, protocol, *self._where, seconds),
            environment=environment(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            codebooks=codebooks,
            trained_on=True if True in self._trained_on else None if None in self._trained_on else False,
        )
        return Evaluation(record, rows, tuple(self.panel.failures))

    def _groups(self) -> int:
        """Different groups of the images that could be read."""
        numbers = self.panel.listing.numbers
        there = np.ones(len(numbers), bool)
        there[self._skipped_places] = False
        return int(np.count_nonzero(np.bincount(numbers[there])))

    def _data_info(self) -> DataInfo:
        return DataInfo(
            name=self.facts.data,
            digest=self._source.hexdigest(),
            pixels_digest=self._pixels.hexdigest(),
            requested=self._requested,
            count=self._requested - len(self.skipped),
            groups=self._groups(),
            enlarged=self._enlarged,
            skipped=tuple(self.skipped),
            passed_over=self.data.passed_over,
            passed_over_names=self.data.passed_over_names,
        )


def _tokens_info(layout: TokenLayout | None, protocol: Protocol, sizes: np.ndarray, groups: np.ndarray) -> TokensInfo:
    """Derived from the layout, or measured for a codec; of images that other code made nothing is known."""
    if layout is None and not len(sizes):
        return TokensInfo(None, None, None, None, (), (), bits_are="not known: other code made the images")
    if layout is None:
        bits = sum(sizes.data) / len(sizes)
        interval = group_bootstrap(sizes, groups)
        return TokensInfo(
            None, None, bits, bits / protocol.pixels_per_image, (), (), bits_are="mean file size measured", bits_interval=interval
        )
    return TokensInfo(
        positions=layout.positions,
        tokens_per_image=layout.tokens_per_image,
        bits_per_image=layout.bits_per_image,
        bpp=layout.bpp,
        grid=layout.grid,
        codebook_sizes=layout.codebook_sizes,
        channels=layout.channels,
        storage_bits_per_image=layout.storage_bits_per_image,
        bits_are="ceiling of a uniform code" if layout.discrete else "none: continuous latents",
        padding=layout.padding,
    )


def _timing(encode: list[float], decode: list[float], protocol: Protocol, device: str, threads: int, total: float) -> Timing:
    """Median rates; those micro-batches that warm a process up were left out."""
    (encode_rate, encode_interval), (decode_rate, decode_interval) = _rate(encode), _rate(decode)
    return Timing(encode_rate, decode_rate, protocol.at_once, device, threads, round(total, 3), encode_interval, decode_interval)


def _rate(seconds: list[float]) -> tuple[float | None, Interval | None]:
    """Images per second, from the seconds an image took in each micro-batch, and how sure that is."""
    if not seconds:
        return None, None
    ends = median_interval(seconds)
    how = f"order statistics of {len(seconds)} micro-batches of one pass"
    return 1.0 / statistics.median(seconds), Interval(1.0 / ends[1], 1.0 / ends[0], how) if ends else None
