"""Records of several data sets in one table: a row for each tokenizer on each, and how they stand over all of them; no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tokbench.errors import unknown_name
from tokbench.records.record import MetricResult, Record
from tokbench.records.store import Rows
from tokbench.report.across import Place, Standing, counted_places, places_of, same_images_notes, standings, subjects_of
from tokbench.report.guards import guard_notes
from tokbench.report.significance import significantly_best
from tokbench.report.subjects import one_by_names
from tokbench.report.table import (
    BOLD_NOTE,
    DERIVED,
    SPEED,
    Cell,
    Column,
    Table,
    figure_cell,
    figure_column,
    infinite_word,
    make_tables,
    metric_columns,
)
from tokbench.report.training import marks_of, training_notes
from tokbench.report.words import counted

WHAT = (
    Column("data", "data", align="left"),
    Column("size", "size"),
    Column("n", "n"),
    Column("seed", "seed"),
    Column("protocol", "protocol", align="left"),
)
"""Columns that say what a row was measured on and how, as ``tokbench.frame`` has them."""

OTHER_HEADINGS = ("tokenizer", "mean", "mean rank", "mean_rank", "best", "protocol and data")
"""What stands over other columns of a table of one figure, as people and as machines read them."""

APART_NOTE = "rows of different data or protocols do not compare; bold and marks are among the rows of one"
RANK_NOTE = (
    "mean rank: 1 is the best on every data set; its interval resamples the images of each, the same for all tokenizers; bold: the best by "
    "more than chance (95 %, corrected after Holm)"
)


def tidy_tables(
    records: Sequence[Record], rows: Sequence[Rows], *, intervals: bool = False, bold: bool = False, columns: Sequence[str] | None = None
) -> list[Table]:
    """Put records of several data sets into one table, and means and mean ranks over the data sets into another.

    Args:
        records: In the order rows of one data set shall have.
        rows: The per-image values of each.
        intervals: Write 95 % intervals beside the figures that have one.
        bold: Mark the best of each data set, where it is by more than chance.
        columns: Keys of the figures to keep, in this order; None keeps all, and ranks by the leading ones.

    Returns:
        The table of all rows, and that of the standings if two tokenizers were measured on the same data sets.

    Raises:
        TokbenchError: If no record has a figure for a column.
    """
    parts = make_tables(records, intervals=intervals, rows=rows if bold else None, columns=columns)
    places = places_of(records)
    order = _order(parts, records) if columns is None else list(dict.fromkeys(columns))
    shown = {
        column.key: _together([c for part in parts for c in part.columns if c.key == column.key])
        for part in parts
        for column in part.columns
    }
    keys = [key for key in order if key in shown]
    lines: list[tuple[str, tuple[Cell, ...]]] = []
    for part, place in zip(parts, places, strict=True):
        own = {column.key: i for i, column in enumerate(part.columns)}
        for (name, i), (_, cells) in zip(place.members.items(), part.rows, strict=True):
            lines.append((name, (*_what(records[i]), *(cells[own[key]] if key in own else Cell("-") for key in keys))))
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    table = Table(
        f"{counted(len(subjects_of(places)), 'tokenizer')} on {_where(places, records)}",
        (*WHAT, *(shown[key] for key in keys)),
        tuple(lines),
        (*notes, APART_NOTE),
    )
    ranked = [c.key for c in metric_columns(records) if (c.info is not None and c.info.leading if columns is None else c.key in columns)]
    over = standing_table(places, records, rows, ranked)
    return [table] if over is None else [table, over]


def standing_table(places: Sequence[Place], records: Sequence[Record], rows: Sequence[Rows], keys: Sequence[str]) -> Table | None:
    """Arrange means and mean ranks over data sets.

    Args:
        places: From ``places_of``.
        records: What they are of.
        rows: The per-image values of each record.
        keys: Keys of metrics.

    Returns:
        A row for each tokenizer that has a standing in one of the figures; None if there is none.
    """
    found = {key: standings(places, records, rows, key) for key in keys}
    found = {key: own for key, own in found.items() if own}
    names = [name for name in subjects_of(places) if any(name in own for own in found.values())]
    if not names:
        return None
    columns = [column for key in found for column in _standing_columns(figure_column(key, _results(records, key)))]
    counted_in = {key: counted_places(places, records, key) for key in found}

    def cells(key: str, own: Mapping[str, Standing], name: str) -> tuple[Cell, Cell]:
        return _standing_cells(key, own.get(name), records, _standing_mark(counted_in[key], records, key, name))

    lines = tuple((name, tuple(cell for key, own in found.items() for cell in cells(key, own, name))) for name in names)
    over = {key: tuple(place.label for place in counted_in[key]) for key in found}
    notes = [
        f"{', '.join(key for key in over if over[key] == labels)}: over {', '.join(labels)}" for labels in dict.fromkeys(over.values())
    ]
    title = "Over the data sets" + (" and protocols" if "protocol" in _where(places, records) else "")
    taking_part = [records[place.members[name]] for place in places for name in names if name in place.members]
    return Table(
        title,
        tuple(columns),
        lines,
        (
            *notes,
            *same_images_notes(places, records),
            RANK_NOTE,
            *training_notes(taking_part, list(found)),
            *guard_notes(taking_part, list(found)),
        ),
    )


def wide_table(records: Sequence[Record], rows: Sequence[Rows], key: str, *, intervals: bool = False) -> Table:
    """Put one figure into a table of tokenizers by data sets, with its mean and mean rank over these.

    Args:
        records: In the order rows shall have.
        rows: The per-image values of each.
        key: Key of the figure: a metric, a rate or a speed.
        intervals: Write 95 % intervals beside the figures that have one.

    Raises:
        TokbenchError: If no record has the figure.
    """
    known = dict.fromkeys(name for record in records for name in record.figures())
    if key not in known:
        raise unknown_name("figure", key, known, hint="--wide takes a figure that the records have.")
    places, figure = places_of(records), figure_column(key, _results(records, key))
    columns = [
        replace(
            figure,
            title=_heading(place),
            key=_heading(place),
            ranged=intervals and any(records[i].interval(key) for i in place.members.values()),
        )
        for place in places
    ]
    best = {place.label: _best(place, records, rows, key) for place in places}
    over, counted_in = standings(places, records, rows, key), counted_places(places, records, key)
    lines = []
    for name in subjects_of(places):
        cells = [
            figure_cell(column, records[place.members[name]], key, name in best[place.label]) if name in place.members else Cell("-")
            for place, column in zip(places, columns, strict=True)
        ]
        mark = _standing_mark(counted_in, records, key, name)
        lines.append((name, (*cells, *(_standing_cells(key, over.get(name), records, mark, among=figure) if over else ()))))
    judged = [replace(column, tested=bool(figure.arrow)) for column in columns]
    notes = [BOLD_NOTE] if any(best.values()) else []
    if over:
        notes += [
            f"mean and mean rank: over {', '.join(place.label for place in counted_in)}",
            *same_images_notes(places, records),
            RANK_NOTE,
        ]
    title = f"{figure.title} {figure.arrow}".strip() + " by data set" + " and protocol" * ("protocol" in _where(places, records))
    standing = [
        replace(column, key=column.key.removeprefix(f"{key}_"), title=column.title.removeprefix(f"{figure.title} "))
        for column in _standing_columns(figure)
    ]
    return Table(
        title,
        (*judged, *(standing if over else ())),
        tuple(lines),
        (*notes, *training_notes(records, [key]), *guard_notes(records, [key]), *one_by_names([record.tokenizer for record in records])),
    )


def _heading(place: Place) -> str:
    """What a data set is called over its column, where it has not the name of another one."""
    return f"{place.label} (data)" if place.label in OTHER_HEADINGS else place.label


def _where(places: Sequence[Place], records: Sequence[Record]) -> str:
    """How many data sets there are, and under how many protocols where these are more places than data sets."""
    own = [records[next(iter(place.members.values()))] for place in places]
    sets, protocols = len({record.data.name for record in own}), len({replace(record.protocol, data="") for record in own})
    if sets == len(places) or protocols == 1:
        return counted(len(places), "data set")
    return f"{counted(sets, 'data set')} under {counted(protocols, 'protocol')}"


def _what(record: Record) -> tuple[Cell, ...]:
    protocol = record.protocol
    size = Cell(protocol.size_text, protocol.size if isinstance(protocol.size, int) else None)
    numbers = (Cell(str(number), number) for number in (record.data.count, protocol.seed))
    return Cell(record.data.name), size, *numbers, Cell(record.protocol_label)


def _order(parts: Sequence[Table], records: Sequence[Record]) -> list[str]:
    """Keys of all columns, as a table of one data set has them."""
    there = {column.key for part in parts for column in part.columns}
    every = [
        *(column.key for column, _ in DERIVED),
        *(column.key for column in metric_columns(records)),
        *(column.key for column, _ in SPEED),
    ]
    return [key for key in every if key in there]


def _together(columns: Sequence[Column]) -> Column:
    """One column for those of several tables."""
    return replace(columns[0], ranged=any(one.ranged for one in columns), tested=any(one.tested for one in columns))


def _results(records: Sequence[Record], key: str) -> list[MetricResult | None]:
    return [record.metrics.get(key) for record in records]


def _best(place: Place, records: Sequence[Record], rows: Sequence[Rows], key: str) -> set[str]:
    members = list(place.members.items())
    flags = significantly_best([records[i] for _, i in members], [rows[i] for _, i in members], key)
    return {name for (name, _), flag in zip(members, flags, strict=True) if flag}


def _standing_columns(figure: Column) -> list[Column]:
    mean = replace(figure, title=f"{figure.title} mean", key=f"{figure.key}_mean", info=None)
    return [mean, Column(f"{figure.title} mean rank", f"{figure.key}_mean_rank", 2, arrow="↓", ranged=True, tested=True)]


def _standing_mark(places: Sequence[Place], records: Sequence[Record], key: str, name: str) -> str:
    """What follows a tokenizer's mean and mean rank: the marks of the figures that they are made of."""
    members = [records[place.members[name]] for place in places if name in place.members]
    return "".join(dict.fromkeys("".join(marks_of(record, record.metrics.get(key)) for record in members)))


def _standing_cells(
    key: str, standing: Standing | None, records: Sequence[Record], mark: str, among: Column | None = None
) -> tuple[Cell, Cell]:
    if standing is None:
        return Cell("-"), Cell("-")
    figure = among or figure_column(key, _results(records, key))
    if standing.mean is None:
        mean = Cell("-")
    else:
        mean = (
            Cell(infinite_word(standing.mean, figure.higher_is_better), mark=mark)
            if math.isinf(standing.mean)
            else Cell(figure.write(standing.mean), standing.mean, mark=mark)
        )
    interval = standing.interval
    ends = None if interval is None else (interval.low, interval.high)
    text = None if ends is None else (f"{ends[0]:.2f}", f"{ends[1]:.2f}")
    return mean, Cell(f"{standing.rank:.2f}", standing.rank, text, ends, mark, standing.best)
