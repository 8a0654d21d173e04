"""Records to tables: one row a tokenizer, one section for every protocol and data set; no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tokbench.errors import TokbenchError
from tokbench.records.figure_info import FigureInfo
from tokbench.records.figures import BY_KEY, FIGURES, RATES, SPEEDS, figures_of, known_figure
from tokbench.records.intervals import Interval
from tokbench.records.record import MetricResult, Record
from tokbench.records.store import Rows
from tokbench.report.comparable import (
    SETTINGS_MARK,
    SPEED_MARK,
    differing_settings,
    on_one_machine,
    rounding_notes,
    settings_of,
    unlike_most,
)
from tokbench.report.guards import guard_notes
from tokbench.report.sections import Section, make_sections, place_of
from tokbench.report.significance import significantly_best, too_few
from tokbench.report.subjects import one_by_names
from tokbench.report.training import marks_of, training_notes
from tokbench.report.words import counted


@dataclass(frozen=True)
class Column:
    """One column: heading, key, and how its numbers are written.

    Args:
        title: Heading.
        key: Key of the metric, or of a value derived from the record.
        digits: Decimals.
        scale: Numbers are multiplied by this first.
        arrow: ``↑`` if more is better, ``↓`` if less is, else empty.
        align: Left for text.
        ranged: Whether its cells may hold intervals.
        tested: Whether it was looked for a best figure, which may have found none.
        info: The figure's own row; None if it has none.
    """

    title: str
    key: str
    digits: int = 0
    scale: float = 1.0
    arrow: str = ""
    align: Literal["left", "right"] = "right"
    ranged: bool = False
    tested: bool = False
    info: FigureInfo | None = None

    def write(self, value: float) -> str:
        """The number as text; none is minus zero."""
        scaled = value * self.scale
        text = f"{scaled:.{self.digits}f}" if not HUGE <= abs(scaled) < math.inf else f"{scaled:.4g}"
        return text.removeprefix("-") if float(text) == 0 else text

    @property
    def higher_is_better(self) -> bool | None:
        """Which way its arrow points; None if it has none."""
        return {"↑": True, "↓": False}.get(self.arrow)


HUGE = 1e15
"""Figures from here on are written with a power of ten."""


def column_of(info: FigureInfo) -> Column:
    """The column of a figure."""
    return Column(info.heading, info.key, info.digits, info.scale, info.arrow, info=info)


def figure_column(key: str, results: Iterable[MetricResult | None] = ()) -> Column:
    """The column of a figure, by its key.

    Args:
        key: Key of the figure.
        results: What records say of it: one that is not of this package is shown as they agree to, else by its key.
    """
    found = [result for result in results if result is not None and result.measured]
    info = known_figure(key, (result.info for result in found))
    return column_of(info) if info is not None else Column(key, key, 4, arrow=_arrow(found))


def _unjudged(info: FigureInfo) -> tuple[Column, Callable[[Record], float | None]]:
    return column_of(info), lambda record: record.figures().get(info.key)


DERIVED, SPEED = tuple(map(_unjudged, RATES)), tuple(map(_unjudged, SPEEDS))

TIMED = ("encode", "decode")
"""Columns of speeds."""

FIRST = tuple(info.key for info in FIGURES if info == figures_of(info.measured_by)[0])
"""One figure of each metric."""

EXPLAINED = tuple(key for key in FIRST if BY_KEY[key].kind == "quality")
"""Figures whose absence is explained below a table: one of each metric that judges reconstructions."""

GROUPS_NOTE = "groups: what the images are samples of, such as the photos that crops were cut from; intervals and tests are over them"
EXACT = "exact"
"""Stands for a figure where every image came back exactly, and behind the number of images that did."""


def infinite_word(value: float, higher_is_better: bool | None) -> str:
    """What an infinite figure is called: exact at the better end of its scale, which no number says, else infinite by its sign."""
    if higher_is_better is (value > 0):
        return EXACT
    return "∞" if value > 0 else "-∞"


EXACT_NOTE = f"{EXACT}: so many images came back exactly, which no number of decibels says; the mean is that of the others"
SPEED_NOTE = f"{SPEED_MARK} measured on different machines, devices, threads or micro-batches: these speeds do not compare"
MIXED_NOTE = f"{SETTINGS_MARK} under another protocol or on other data than most of this table: such figures do not compare"
BOLD_NOTE = (
    "bold: better than every other row that has the figure, by more than chance (95 %, corrected after Holm; differences are paired "
    "by image and tested over groups of images; figures of a whole set, such as Fréchet distances, are compared by a jackknife over the same groups, or else by their intervals)"
)


@dataclass(frozen=True)
class Cell:
    """A number or words as text, and what stands around it.

    Args:
        number: Without interval and mark; all there is of words.
        value: What the number stands for.
        ends: Ends of the interval that is written beside it, as text.
        interval: The interval as numbers.
        mark: Follows everything.
        bold: Whether it is the best by more than chance.
        exact: Images that came back exactly, and have no part in the number.
    """

    number: str
    value: float | None = None
    ends: tuple[str, str] | None = None
    interval: tuple[float, float] | None = None
    mark: str = ""
    bold: bool = False
    exact: int = 0

    @property
    def text(self) -> str:
        """All of it but the boldness."""
        return self.number + (f" [{', '.join(self.ends)}]" if self.ends else "") + self.mark + self.beside

    @property
    def beside(self) -> str:
        """What is said of exact images behind a number; nothing where all are."""
        return f" ({self.exact:,} {EXACT})" if self.exact and self.number != EXACT else ""


@dataclass(frozen=True)
class Table:
    """One section: what all its rows have in common, headings, rows and notes; ``lead`` heads the rows' names."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    notes: tuple[str, ...]
    lead: str = "tokenizer"


def make_tables(
    records: Sequence[Record],
    *,
    intervals: bool = False,
    mix: bool = False,
    rows: Sequence[Rows] | None = None,
    columns: Sequence[str] | None = None,
) -> list[Table]:
    """Arrange records.

    Args:
        records: In the order rows shall have.
        intervals: Write 95 % intervals beside the figures that have one.
        mix: One table for all, with protocol and data in each row's name.
        rows: The per-image values of each record; given them, the best figure of a column is bold where it is better than
            every other by more than chance.
        columns: Keys of the columns to keep, in this order; None keeps all.

    Returns:
        One table for every protocol and data set, or the one mixed table.

    Raises:
        TokbenchError: If no record has a figure for a column, or none are given.
        ValueError: If records and rows are not equally many.
    """
    if rows is not None and len(rows) != len(records):
        raise ValueError(f"{len(records)} records with {len(rows)} sets of rows")
    sections = [(section, [records[i] for i in section.members]) for section in make_sections(records, mix=mix)]
    tables = [
        _table(section, members, None if rows is None else [rows[i] for i in section.members], intervals) for section, members in sections
    ]
    if columns is None:
        return tables
    known = dict.fromkeys(column.key for table in tables for column in table.columns)
    wrong = next((key for key in columns if key not in known), None)
    if wrong is not None or not columns:
        raise TokbenchError(f"columns of these records are {', '.join(known)}; got {repr(wrong) if wrong is not None else 'none'}")
    return [_chosen(table, columns, members) for table, (_, members) in zip(tables, sections, strict=True)]


def _chosen(table: Table, keys: Sequence[str], records: Sequence[Record]) -> Table:
    """Those columns of a table that it has, and what is to be said of these."""
    places = {column.key: i for i, column in enumerate(table.columns)}
    chosen = [places[key] for key in dict.fromkeys(keys) if key in places]
    rows = tuple((name, tuple(cells[i] for i in chosen)) for name, cells in table.rows)
    notes = [BOLD_NOTE] if any(cell.bold for _, cells in rows for cell in cells) else []
    return replace(table, columns=tuple(table.columns[i] for i in chosen), rows=rows, notes=(*notes, *_notes(records, keys)))


def metric_columns(records: Sequence[Record]) -> list[Column]:
    """The columns of metrics that at least one record has a figure of: those of this package first, then all others by their keys.


    A metric that is named like a column of rates or speeds, such as ``bpp``, has none.
    """
    found: dict[str, list[MetricResult]] = {}
    for record in records:
        for key, metric in record.metrics.items():
            if metric.measured:
                found.setdefault(key, []).append(metric)
    own = [info.key for info in FIGURES if info.key in found]
    return [figure_column(key, found[key]) for key in (*own, *sorted(found.keys() - BY_KEY.keys()))]


def _arrow(metrics: Sequence[MetricResult]) -> str:
    """Empty where neither direction is better, or where records disagree."""
    directions = {metric.higher_is_better for metric in metrics}
    return {True: "↑", False: "↓", None: ""}[directions.pop()] if len(directions) == 1 else ""


def _table(section: Section, records: Sequence[Record], images: Sequence[Rows] | None, intervals: bool) -> Table:
    metrics = []
    for column in metric_columns(records):
        found = [metric for record in records if (metric := record.metrics.get(column.key)) and metric.measured]
        metrics.append(replace(column, ranged=intervals and any(metric.interval for metric in found)))
    rates, speeds = (
        [(replace(c, ranged=intervals and any(record.interval(c.key) for record in records)), get) for c, get in derived]
        for derived in (DERIVED, SPEED)
    )
    metrics = [replace(column, tested=images is not None and bool(column.arrow)) for column in metrics]
    columns = (*(c for c, _ in rates), *metrics, *(c for c, _ in speeds))
    marks = {column.key: _marks(records, column.key) for column in metrics}
    best = {c.key: [False] * len(records) if images is None else significantly_best(records, images, c.key) for c in metrics}
    speed_mark = "" if on_one_machine(records) else SPEED_MARK
    rows = []
    for i, (name, record) in enumerate(zip(section.names, records, strict=True)):
        cells = [
            *(_number(column, get(record), record.interval(column.key)) for column, get in rates),
            *(_metric_cell(column, record.metrics.get(column.key), marks[column.key][i], best[column.key][i]) for column in metrics),
            *(_number(column, get(record), record.interval(column.key), speed_mark * (column.key in TIMED)) for column, get in speeds),
        ]
        rows.append((name, tuple(cells)))
    notes = [BOLD_NOTE] if any(map(any, best.values())) else []
    return Table(section.title, columns, tuple(rows), (*notes, *_notes(records)))


def _number(column: Column, value: float | None, interval: Interval | None, mark: str = "") -> Cell:
    return Cell("-") if value is None else Cell(column.write(value), value, *_ends(column, interval), mark=mark)


def _metric_cell(column: Column, metric: MetricResult | None, mark: str, bold: bool) -> Cell:
    if metric is not None and metric.wholly_exact:
        return Cell(EXACT, mark=mark, bold=bold, exact=metric.exact)
    if metric is None or metric.value is None:
        return Cell("-")
    text = column.write(metric.value)
    if math.isinf(metric.value) and infinite_word(metric.value, column.higher_is_better) == EXACT:
        text = EXACT  # so records of earlier schemas say that all images came back exactly
    return Cell(text, metric.value, *_ends(column, metric.interval), mark=mark, bold=bold, exact=metric.exact)


def figure_cell(column: Column, record: Record, key: str, bold: bool = False) -> Cell:
    """Write one figure of a record, whether a metric, a rate or a speed.

    Args:
        column: How it is written.
        record: Whose figure it is.
        key: Key of the figure.
        bold: Whether it is the best by more than chance.
    """
    metric = record.metrics.get(key)
    if metric is None:
        return _number(column, record.figures().get(key), record.interval(key))
    return _metric_cell(column, metric, marks_of(record, metric), bold)


def _marks(records: Sequence[Record], key: str) -> list[str]:
    """What follows each figure of a metric."""
    metrics = [record.metrics.get(key) for record in records]
    figures = [settings_of(metric) for metric in metrics]
    elsewhere = unlike_most([None if one is None else place_of(record) for one, record in zip(figures, records, strict=True)])
    unlike = map(any, zip(unlike_most(figures), elsewhere, strict=True))
    trained = map(marks_of, records, metrics)
    return [own + SETTINGS_MARK * other for own, other in zip(trained, unlike, strict=True)]


def _ends(column: Column, interval: Interval | None) -> tuple[tuple[str, str] | None, tuple[float, float] | None]:
    """An interval as text and as numbers, where the column shows them."""
    if not column.ranged or interval is None:
        return None, None
    return (column.write(interval.low), column.write(interval.high)), (interval.low, interval.high)


def _unlike_notes(records: Sequence[Record], keys: Sequence[str] | None) -> list[str]:
    """What differs between figures of one column."""
    notes = []
    columns = [column for column in metric_columns(records) if keys is None or column.key in keys]
    if columns and len({place_of(record) for record in records}) > 1:
        notes.append(MIXED_NOTE)
    for column in columns:
        metrics = [record.metrics.get(column.key) for record in records]
        if any(unlike_most([settings_of(metric) for metric in metrics])):
            notes.append(f"{SETTINGS_MARK} {column.title} with other settings than most of this table: {differing_settings(metrics)}")
    return notes


def _reasons(records: Sequence[Record]) -> list[str]:
    """Why figures are not there: one of each metric that judges, and all on weights of others, whose keys tell of these; each reason once."""
    known, others = set[str](), dict[str, dict[str, None]]()
    for record in records:
        nothing = not any(metric.measured for metric in record.metrics.values())  # then it is not clear from what is there
        for key, metric in record.metrics.items():
            if metric.reason is None:
                continue
            if "[" in key:
                others.setdefault(metric.reason, {})[key] = None
            elif key in EXPLAINED or (nothing and (key in FIRST or key not in BY_KEY)):
                known.add(f"{key}: {metric.reason}")
    return sorted([*known, *(f"{', '.join(found)}: {reason}" for reason, found in others.items())])


def _notes(records: Sequence[Record], keys: Sequence[str] | None = None) -> list[str]:
    """What there is to say of the columns ``keys``; None means all."""
    notes = [*training_notes(records, keys), *guard_notes(records, keys), *one_by_names([record.tokenizer for record in records])]
    if any(metric.exact and (keys is None or key in keys) for record in records for key, metric in record.metrics.items()):
        notes.append(EXACT_NOTE)
    notes += [*_unlike_notes(records, keys), *rounding_notes(records)]
    if (keys is None or set(keys).intersection(TIMED)) and not on_one_machine(records):
        notes.append(SPEED_NOTE)
    few = dict.fromkeys(too_few(record.data.count, record.data.groups) for record in records)
    notes += [note for note in few if note is not None]
    if keys is None and any(record.data.groups != record.data.count for record in records):
        notes.append(GROUPS_NOTE)
    enlarged = max((record.data.enlarged for record in records), default=0)
    if enlarged > 0:
        notes.append(f"{counted(enlarged, 'image was', 'images were')} smaller than the protocol's size, and enlarged to it")
    rates = keys is None or any(column.key in keys for column, _ in DERIVED)
    if rates and any(record.tokens.channels for record in records):
        notes.append("continuous latents have no bits; what they take to store is in the record")
    if rates and any(record.tokenizer.codec for record in records):
        notes.append("anchors are codecs: bits are the mean size of the files, headers included")
    if keys is None:
        notes += _reasons(records)
    skipped = max((len(record.data.skipped) for record in records), default=0)
    if skipped:
        notes.append(f"{counted(skipped, 'image')} could not be read, and left out; the records name {'it' if skipped == 1 else 'them'}")
    return notes
