"""What differs between two records as tables, the settings before the figures."""

from __future__ import annotations

import math
from dataclasses import replace

from tokbench.records.figure_info import FigureInfo
from tokbench.report.diff import Change, Difference
from tokbench.report.table import EXACT, Cell, Column, Table, column_of
from tokbench.report.training import JUDGE_NOTE, TRAINED_MARK, TRAINED_NOTE, UNKNOWN_NOTE, judge_mark

EXACT_DIFF_NOTE = f"{EXACT}: so many images came back exactly; means are of the others, and a change is of those exact in neither record"


def diff_tables(difference: Difference) -> list[Table]:
    """Arrange a difference: what differs in how the records were made, if anything does, then every figure.

    Figures have the names and units of the record, as conditions take them.
    """
    settings = tuple((setting.name, (Cell(setting.area), Cell(setting.before), Cell(setting.after))) for setting in difference.settings)
    columns = (Column("of", "area", align="left"), Column("first", "first", align="left"), Column("second", "second", align="left"))
    figures = tuple((one.key, _figure_cells(one)) for one in difference.changes)
    figure_columns = (
        Column("first", "first"),
        Column("second", "second"),
        Column("change", "change", ranged=any(one.interval for one in difference.changes)),
        Column("second is", "verdict", align="left"),
        Column("judged by", "why", align="left"),
    )
    tables = [Table(f"{difference.title}: what differs", columns, settings, (), "setting")] if settings else []
    judged = [side for one in difference.changes for side in one.judged]
    exact = any(any(one.exact) for one in difference.changes)
    trained = any(any(one.trained_on) for one in difference.changes)
    notes = (
        *[EXACT_DIFF_NOTE] * exact,
        *[JUDGE_NOTE] * any(judged),
        *[UNKNOWN_NOTE] * (None in judged),
        *[TRAINED_NOTE] * trained,
        *difference.warnings,
    )
    return [*tables, Table(f"{difference.title}: figures", figure_columns, figures, notes, "figure")]


def _figure_cells(one: Change) -> tuple[Cell, ...]:
    column = unscaled_column(one.key, one.info)
    before, after = (
        Cell("-") if value is None else _side(column, value, exact, judge_mark(judged) + TRAINED_MARK * trained)
        for value, exact, judged, trained in zip((one.before, one.after), one.exact, one.judged, one.trained_on, strict=True)
    )
    change = Cell("-")
    if one.change is not None:
        ends = (one.interval.low, one.interval.high) if one.interval else None
        texts = (signed(column, ends[0]), signed(column, ends[1])) if ends else None
        change = Cell(signed(column, one.change), one.change, texts, ends, bold=one.verdict in ("better", "worse"))
    return before, after, change, Cell(one.verdict), Cell(one.why)


def _side(column: Column, value: float, exact: int, mark: str) -> Cell:
    if exact and math.isinf(value):
        return Cell(EXACT, mark=mark, exact=exact)
    return Cell(column.write(value), value, mark=mark, exact=exact)


def unscaled_column(key: str, info: FigureInfo | None) -> Column:
    """How a figure is written: with the decimals of its column in tables, in the record's own unit.

    Args:
        key: Key of the figure.
        info: Its row; None if there is none.
    """
    column = Column(key, key, 4) if info is None else column_of(info)
    return replace(column, scale=1.0, digits=max(0, column.digits + round(math.log10(column.scale))))


def signed(column: Column, value: float) -> str:
    """A change as text, with its sign."""
    text = column.write(value)
    return f"+{text}" if value > 0 and text.strip("0.") else text
