"""The table of a group for the page: figures with their intervals, marks, what is best beyond chance, and values to sort by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tokbench.configs import flat
from tokbench.records.intervals import Interval
from tokbench.report.comparable import COUNTED, SETTINGS_MARK, with_other_settings
from tokbench.report.page.axes import short
from tokbench.report.page.model import TEXT_LIMIT, Entry, Group, clipped
from tokbench.report.significance import significantly_best
from tokbench.report.table import DERIVED, EXACT, Column, infinite_word
from tokbench.report.training import marks_of

NONE = "\N{EN DASH}"


@dataclass(frozen=True)
class Heading:
    """A column.

    Args:
        column: What it holds.
        kind: ``rate``, ``figure`` or ``speed``.
        note: Short text below the title, such as the number of images.
        better: ``lower``, ``higher`` or empty.
        tip: Lines for the reader who points at it.
    """

    column: Column
    kind: str
    note: str
    better: str
    tip: str


@dataclass(frozen=True)
class Cell:
    """A figure.

    Args:
        text: The figure, ``–`` where there is none.
        interval: The 95 % interval as text, else empty.
        value: To sort by; None sorts last.
        marks: Signs that follow it.
        best: Whether it is better than all others in its column beyond chance.
        best_at_rate: Whether it is so among the tokenizers of equal bits.
        reason: Why there is no figure, empty where there is one.
    """

    text: str
    interval: str = ""
    value: float | None = None
    marks: str = ""
    best: bool = False
    best_at_rate: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Leaderboard:
    """A table.

    Args:
        headings: Headings of the columns after the name.
        rows: Records with their cells.
        notes: Below it.
        absent: Why figures are missing, once for all rows and columns: titles of columns, the reason, labels of rows.
    """

    headings: tuple[Heading, ...]
    rows: tuple[tuple[Entry, tuple[Cell, ...]], ...]
    notes: tuple[str, ...]
    absent: tuple[tuple[tuple[str, ...], str, tuple[str, ...]], ...] = ()


def leaderboard(group: Group) -> Leaderboard:
    """Make the table of a group."""
    metrics = {column.key for column in group.metric_columns}
    rates = {column.key for column, _ in DERIVED}
    columns, headings, notes = [], [], list(group.table.notes)
    untested = []
    for i, column in enumerate(group.table.columns):
        texts = [cells[i] for _, cells in group.table.rows]
        if column.key in metrics:
            cells, tested = _metric_cells(group, column)
            if not tested and column.arrow and len(group.entries) > 1:
                untested.append(column.title)
        else:
            cells = [
                _plain_cell(entry, column, cell.number, cell.value, cell.mark) for cell, entry in zip(texts, group.entries, strict=True)
            ]
        columns.append(cells)
        kind = "figure" if column.key in metrics else "rate" if column.key in rates else "speed"
        headings.append(_heading(group, column, kind))
    if untested:
        notes.append(
            f"nothing is called best in {', '.join(untested)}: no record is better than every other beyond chance, or it cannot be tested"
        )
    rows = [(entry, tuple(column[j] for column in columns)) for j, entry in enumerate(group.entries)]
    return Leaderboard(tuple(headings), tuple(rows), tuple(clipped(note, TEXT_LIMIT) for note in notes), _absent(headings, rows))


def _absent(
    headings: Sequence[Heading], rows: Sequence[tuple[Entry, tuple[Cell, ...]]]
) -> tuple[tuple[tuple[str, ...], str, tuple[str, ...]], ...]:
    lacking: dict[tuple[str, str], list[str]] = {}
    for i, heading in enumerate(headings):
        for entry, cells in rows:
            if cells[i].reason:
                lacking.setdefault((heading.column.title, cells[i].reason), []).append(entry.label)
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (title, reason), names in lacking.items():
        alike.setdefault((reason, tuple(names)), []).append(title)
    return tuple((tuple(titles), reason, names) for (reason, names), titles in alike.items())


def _plain_cell(entry: Entry, column: Column, text: str, value: float | None, mark: str) -> Cell:
    """The cell of a rate or speed."""
    if value is None:
        return Cell(NONE, reason=_without(entry, column.key))
    if math.isnan(value):
        return Cell(NONE, reason="the figure is not a number")
    return Cell(_kept_short(text, value), _interval(entry.record.interval(column.key), column), value, mark)


def _without(entry: Entry, key: str) -> str:
    """Why a record has no such rate or speed."""
    if key in ("encode", "decode"):
        return "a speed needs more than one micro-batch" if entry.codec is None else "a codec's decoding is timed within its encoding"
    if entry.codec is not None:
        return "a codec without tokens"
    return "continuous latents have no bits" if entry.record.tokens.channels else "not in the record"


def _heading(group: Group, column: Column, kind: str) -> Heading:
    count = group.entries[0].record.data.count
    better = {"↓": "lower", "↑": "higher"}.get(column.arrow, "")
    info = column.info
    lines = [column.title, clipped(info.meaning, 400) if info is not None else ""]
    if better:
        lines.append(f"{better} is better")
    metric = next((m for entry in group.entries if (m := entry.record.metrics.get(column.key)) and m.measured), None)
    if metric is not None:
        how = ", ".join(f"{key} {value}" for key, value in flat(metric.settings).items() if key not in COUNTED and "sha256" not in key)
        lines.append(clipped(how, 400))
    steady = next((found for entry in group.entries if (found := entry.record.interval(column.key))), None)
    for interval in (metric.interval if metric else None, steady):
        if interval is not None:
            lines.append(f"in brackets: 95 %, {clipped(interval.method)}")
    lines.append(f"key in the filter: {clipped(column.key)}")
    note = f"N={count:,}" if info is not None and info.of_whole_sets else ""
    return Heading(column, kind, note, better, "\n".join(line for line in lines if line))


def _metric_cells(group: Group, column: Column) -> tuple[list[Cell], bool]:
    """The cells of a metric, and whether one of them is best."""
    best = significantly_best([e.record for e in group.entries], [e.rows for e in group.entries], column.key)
    at_rate = _best_at_rate(group.entries, column.key)
    unlike = with_other_settings([entry.record for entry in group.entries], column.key)
    cells = []
    for entry, is_best, is_best_at_rate, is_unlike in zip(group.entries, best, at_rate, unlike, strict=True):
        metric = entry.record.metrics.get(column.key)
        value = entry.figure(column.key)
        if metric is None or value is None:
            reason = "not measured" if metric is None else metric.reason or "the figure is not a number"
            cells.append(Cell(NONE, reason=clipped(reason, 400)))
            continue
        marks = marks_of(entry.record, metric)
        marks += SETTINGS_MARK if is_unlike else ""
        text = _kept_short(f"{value * column.scale:.{column.digits}f}", value * column.scale, column.higher_is_better)
        if metric.exact and not metric.wholly_exact:
            marks += f" ({metric.exact:,} {EXACT})"
        cells.append(Cell(text, _interval(metric.interval, column), value, marks, is_best, is_best_at_rate))
    return cells, any(best)


def _best_at_rate(entries: Sequence[Entry], key: str) -> list[bool]:
    """Who is best beyond chance among the tokenizers of its bits; nobody where all the group has these bits."""
    best = [False] * len(entries)
    by_bits: dict[float, list[int]] = {}
    for i, entry in enumerate(entries):
        bits = entry.record.tokens.bits_per_image
        if bits is not None and math.isfinite(bits) and entry.codec is None:
            by_bits.setdefault(round(bits, 3), []).append(i)
    for members in by_bits.values():
        if 1 < len(members) < len(entries):
            flags = significantly_best([entries[i].record for i in members], [entries[i].rows for i in members], key)
            for i, flag in zip(members, flags, strict=True):
                best[i] = flag
    return best


def _interval(interval: Interval | None, column: Column) -> str:
    if interval is None:
        return ""
    ends = [interval.low * column.scale, interval.high * column.scale]
    return "[" + ", ".join(_kept_short(f"{end:.{column.digits}f}", end) for end in ends) + "]"


def _kept_short(text: str, value: float, higher_is_better: bool | None = None) -> str:
    if math.isnan(value):
        return NONE
    if math.isinf(value):
        return infinite_word(value, higher_is_better)
    if text.startswith("-") and float(text) == 0:
        text = text[1:]
    return text if len(text) <= 12 else short(value)
