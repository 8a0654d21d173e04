"""Records to tables: one row a tokenizer, one section for every protocol and data set; no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tokbench.bench.record import MetricResult, Record
from tokbench.configs import flat


@dataclass(frozen=True)
class Column:
    """One column: heading, key, and how its numbers are written.

    Args:
        title: Heading.
        key: Of the metric, or of a value derived from the record.
        digits: Decimals.
        scale: Numbers are multiplied by this first.
        arrow: ``↑`` if more is better, ``↓`` if less is, else empty.
    """

    title: str
    key: str
    digits: int
    scale: float = 1.0
    arrow: str = ""


METRIC_COLUMNS = (
    Column("FD-EffLite0", "fd_efflite0", 2, arrow="↓"),
    Column("rFID", "rfid", 3, arrow="↓"),
    Column("LPIPS", "lpips", 4, arrow="↓"),
    Column("LPIPS-VGG", "lpips_vgg", 4, arrow="↓"),
    Column("PSNR dB", "psnr", 2, arrow="↑"),
    Column("SSIM", "ssim", 4, arrow="↑"),
    Column("usage %", "usage", 1, 100.0, "↑"),
    Column("perplexity", "perplexity", 1, arrow="↑"),
    Column("entropy bits", "entropy_bits", 2),
    Column("dead codes", "dead_codes", 0, arrow="↓"),
    Column("stable %", "stability", 1, 100.0, "↑"),
)

DERIVED: tuple[tuple[Column, Callable[[Record], float | None]], ...] = (
    (Column("tokens", "tokens_per_image", 0), lambda r: r.tokens.tokens_per_image),
    (Column("bits/image", "bits_per_image", 0), lambda r: r.tokens.bits_per_image),
    (Column("bpp", "bpp", 3), lambda r: r.tokens.bpp),
)

SPEED: tuple[tuple[Column, Callable[[Record], float | None]], ...] = (
    (Column("encode img/s", "encode", 1, arrow="↑"), lambda r: r.timing.encode_images_per_second),
    (Column("decode img/s", "decode", 1, arrow="↑"), lambda r: r.timing.decode_images_per_second),
    (Column("M params", "parameters", 2, 1e-6), lambda r: float(r.tokenizer.parameters)),
)

JUDGE_MARK = "†"
JUDGE_NOTE = f"{JUDGE_MARK} the tokenizer was trained with the network that judges here"


@dataclass(frozen=True)
class Cell:
    """A number as text, its value, and marks that follow it."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """One section: what all its rows have in common, headings, rows and notes."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    notes: tuple[str, ...]


def make_tables(records: Sequence[Record], *, intervals: bool = False, mix: bool = False) -> list[Table]:
    """Arrange records.

    Args:
        records: In the order rows shall have.
        intervals: Write 95 % intervals beside the figures that have one.
        mix: One table for all, with protocol and data in each row's name.

    Returns:
        One table for every protocol and data set, or the one mixed table.
    """
    if mix:
        names = [f"{name} [{_where(record)}]" for name, record in zip(_names(records), records, strict=True)]
        return [_table("different protocols and data, see the rows", names, records, intervals)]
    sections: dict[tuple[str, int, str], list[Record]] = {}
    for record in records:
        sections.setdefault((record.protocol_label, record.protocol.version, record.data.pixels_digest), []).append(record)
    return [_table(_where(group[0]), _names(group), group, intervals) for group in sections.values()]


def _names(records: Sequence[Record]) -> list[str]:
    """Names of the rows; those of one tokenizer are followed by the settings, or the start of the weights' digest, that differ."""
    settings = [flat(record.tokenizer.config) | {"weights": (record.tokenizer.weights_sha256 or "none")[:8]} for record in records]
    groups: dict[str, list[dict[str, Any]]] = {}
    for record, own in zip(records, settings, strict=True):
        groups.setdefault(record.tokenizer.name, []).append(own)
    names = []
    for record, own in zip(records, settings, strict=True):
        group = groups[record.tokenizer.name]
        keys = dict.fromkeys(key for other in group for key in other)
        differing = [key for key in keys if any(other.get(key) != own.get(key) for other in group)]
        names.append(" ".join([record.tokenizer.name, *(f"{key}={own[key]}" for key in differing if key in own)]))
    return names


def _where(record: Record) -> str:
    data = record.data
    return (
        f"{record.protocol_label} v{record.protocol.version}, N={data.count} of {data.name} ({data.groups} groups), data {data.digest[:8]}"
    )


def _table(title: str, names: Sequence[str], records: Sequence[Record], intervals: bool) -> Table:
    metrics = [column for column in METRIC_COLUMNS if any(_figure(record, column.key) is not None for record in records)]
    columns = (*(c for c, _ in DERIVED), *metrics, *(c for c, _ in SPEED))
    rows = []
    for name, record in zip(names, records, strict=True):
        cells = [
            *(_number(column, get(record)) for column, get in DERIVED),
            *(_metric_cell(column, record.metrics.get(column.key), intervals) for column in metrics),
            *(_number(column, get(record)) for column, get in SPEED),
        ]
        rows.append((name, tuple(cells)))
    return Table(title, columns, tuple(rows), tuple(_notes(records)))


def _figure(record: Record, key: str) -> float | None:
    metric = record.metrics.get(key)
    return None if metric is None else metric.value


def _number(column: Column, value: float | None) -> Cell:
    return Cell("-") if value is None else Cell(f"{value * column.scale:.{column.digits}f}", value)


def _metric_cell(column: Column, metric: MetricResult | None, intervals: bool) -> Cell:
    if metric is None or metric.value is None:
        return Cell("-")
    text = f"{metric.value * column.scale:.{column.digits}f}"
    if intervals and metric.interval is not None:
        low, high = (f"{end * column.scale:.{column.digits}f}" for end in (metric.interval.low, metric.interval.high))
        text += f" [{low}, {high}]"
    return Cell(text + (JUDGE_MARK if metric.judged_by_training_network else ""), metric.value)


def _notes(records: Sequence[Record]) -> list[str]:
    notes = []
    if any(metric.judged_by_training_network for record in records for metric in record.metrics.values()):
        notes.append(JUDGE_NOTE)
    if any(record.tokens.channels for record in records):
        notes.append("continuous latents have no bits; what they take to store is in the record")
    if any(record.tokenizer.name.startswith("anchor/") for record in records):
        notes.append("anchors are codecs: bits are the mean size of the files, headers included")
    reasons: dict[str, set[str]] = {}
    for record in records:
        for key, metric in record.metrics.items():
            if metric.reason is not None and key in ("rfid", "fd_efflite0", "lpips", "ssim"):
                reasons.setdefault(f"{key}: {metric.reason}", set()).add(record.tokenizer.name)
    notes += sorted(reasons)
    skipped = max((len(record.data.skipped) for record in records), default=0)
    if skipped:
        notes.append(f"{skipped} images could not be read and were skipped; the records name them")
    return notes
