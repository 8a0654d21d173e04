"""How a figure spreads over the images it is the mean of: 5th percentile, median, 95th percentile and the worst image; no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tokbench.errors import TokbenchError
from tokbench.records.record import Record
from tokbench.records.store import Rows
from tokbench.report.sections import make_sections
from tokbench.report.table import DERIVED, Cell, Column, Table, infinite_word, metric_columns
from tokbench.report.training import marks_of, training_notes

SHARES = {"p5": 0.05, "median": 0.5, "p95": 0.95}
"""Quantiles shown, by what follows the figure's key."""

TITLES = {"p5": "P5", "median": "median", "p95": "P95", "worst": "worst"}


@dataclass(frozen=True)
class Spread:
    """Where the images of a figure lie.

    Args:
        p5: A twentieth of them are below.
        median: Half of them are.
        p95: A twentieth of them are above.
        worst: The worst; None of a figure of which neither direction is better.
        image: Id of the first image that is as bad; None where there is no worst.
    """

    p5: float
    median: float
    p95: float
    worst: float | None = None
    image: str | None = None


def spread_of(values: Mapping[str, float], *, higher_is_better: bool | None) -> Spread | None:
    """Find how values spread.

    Args:
        values: Image id to value; NaN counts as missing, infinities as the ends of the scale.
        higher_is_better: Direction of the figure.

    Returns:
        Percentiles and the worst; None where there is no value.
    """
    found = {name: value for name, value in values.items() if value is not None and not math.isnan(value)}
    if not found:
        return None
    ordered = sorted(found.values())
    p5, median, p95 = (quantile(ordered, share) for share in SHARES.values())
    if higher_is_better is None:
        return Spread(p5, median, p95)
    worst = ordered[0] if higher_is_better else ordered[-1]
    return Spread(p5, median, p95, worst, min(name for name, value in found.items() if value == worst))


def quantile(ordered: Sequence[float], share: float) -> float:
    """A quantile of ordered values: between two of them in proportion, as NumPy has it.

    Args:
        ordered: At least one value, the smallest first.
        share: How many lie below it, from 0 to 1.

    Returns:
        The quantile. Between a number and an infinity nothing lies: it is the nearer of the two, the number in the middle.
    """
    place = share * (len(ordered) - 1)
    low = min(int(place), len(ordered) - 1)
    below, above, part = ordered[low], ordered[min(low + 1, len(ordered) - 1)], place - low
    if part == 0 or below == above:
        return below
    if math.isinf(below) or math.isinf(above):
        nearer = below if part < 0.5 else above
        return nearer if part != 0.5 else above if math.isinf(below) else below
    return below + (above - below) * part


def spread_tables(records: Sequence[Record], rows: Sequence[Rows], *, mix: bool = False, keys: Iterable[str] | None = None) -> list[Table]:
    """Arrange how the figures of records spread over images.

    Args:
        records: In the order rows of tables shall have.
        rows: The per-image values of each record.
        mix: One table for all, see ``make_tables``.
        keys: Keys of the figures to show; None shows all that have per-image values.

    Returns:
        One table for every protocol and data set that has such values.

    Raises:
        TokbenchError: If no record has per-image values of a figure asked for.
        ValueError: If records and rows are not equally many.
    """
    if len(records) != len(rows):
        raise ValueError(f"{len(records)} records with {len(rows)} sets of rows")
    columns = (*metric_columns(records), *(column for column, _ in DERIVED))
    known = [column for column in columns if any(column.key in own for own in rows)]
    wanted = None if keys is None else list(dict.fromkeys(keys))
    chosen = known if wanted is None else [column for key in wanted for column in known if column.key == key]
    if not chosen:
        has = f"these have them of {', '.join(column.key for column in known)}" if known else "these have none beside them"
        raise TokbenchError(f"the spread of a figure is that of its per-image values, and {has}; choose such a figure, or measure again")
    tables = [
        _table(section.title, section.names, [records[i] for i in section.members], [rows[i] for i in section.members], chosen)
        for section in make_sections(records, mix=mix)
    ]
    return [table for table in tables if table.columns]


def _table(title: str, names: Sequence[str], records: Sequence[Record], rows: Sequence[Rows], chosen: Sequence[Column]) -> Table:
    columns: list[Column] = []
    cells: list[list[Cell]] = [[] for _ in records]
    for column in chosen:
        if not any(column.key in own for own in rows):
            continue
        shown = [what for what in TITLES if what != "worst" or column.higher_is_better is not None]
        columns += [replace(column, title=f"{column.title} {TITLES[what]}", key=f"{column.key}_{what}", info=None) for what in shown]
        for own, record, values in zip(cells, records, rows, strict=True):
            spread = spread_of(values.get(column.key, {}), higher_is_better=column.higher_is_better)
            mark = marks_of(record, record.metrics.get(column.key))
            own += [Cell("-") if spread is None else _cell(column, getattr(spread, what), mark) for what in shown]
    keys = [column.key for column in chosen]
    return Table(
        f"Spread over images: {title}",
        tuple(columns),
        tuple((name, tuple(own)) for name, own in zip(names, cells, strict=True)),
        ("P5, median and P95: 5, 50 and 95 of a hundred images lie below", *training_notes(records, keys)),
    )


def _cell(column: Column, value: float, mark: str) -> Cell:
    if not math.isinf(value):
        return Cell(column.write(value), value, mark=mark)
    return Cell(infinite_word(value, column.higher_is_better), value, mark=mark)
