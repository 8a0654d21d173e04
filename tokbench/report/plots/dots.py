"""Language models as dots with intervals: stages beside ceiling and chance, and part by part; nothing is drawn here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tokbench.records.lm_record import LanguageModelRecord
from tokbench.report.evaluated import ModelGroup
from tokbench.report.lm import BY_PART, DRAWING, EDITING, READING
from tokbench.report.plots.data import Axis
from tokbench.report.table import HUGE, Column
from tokbench.report.training import trained_mark

COLUMNS = {column.key: column for column in (*DRAWING, *EDITING, *READING)}
"""Columns of tables by their keys."""

STAGES = (
    ("prompt_attributes", "Parts of prompts that are right", (("ceiling", "ceiling_attributes"), ("chance", "chance_attributes"))),
    ("prompt_all_right", "Prompts with all parts right", (("ceiling", "ceiling_all_right"), ("chance", "chance_all_right"))),
    ("edit_change", "Edits whose change is right", (("ceiling", "ceiling_edit_change"), ("unedited", "unedited_edit_change"))),
    ("description_attributes", "Parts of descriptions that are right", ()),
)
"""Figures of stages: key, what it is, and what stands beside it with its key."""


@dataclass(frozen=True)
class Dot:
    """One figure.

    Args:
        series: Number of its series in the plot.
        value: The figure, in the unit of the axis.
        interval: 95 %, where there is one.
        beside: What it is compared with, as the plot's ``beside`` names it; None where that was not measured.
    """

    series: int
    value: float
    interval: tuple[float, float] | None
    beside: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class DotRow:
    """Dots with one name, below each other."""

    name: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class DotPlot:
    """Rows of dots over one axis.

    Args:
        name: Name of its file.
        title: What it shows.
        axis: The axis across.
        series: What the looks of dots tell apart, the same in all plots of a group.
        rows: From top to bottom; those without dots are left out.
        beside: Names of what figures are compared with.
    """

    name: str
    title: str
    axis: Axis
    series: tuple[str, ...]
    rows: tuple[DotRow, ...]
    beside: tuple[str, ...] = ()

    @property
    def shown(self) -> list[int]:
        """Numbers of the series that have dots."""
        return sorted({dot.series for row in self.rows for dot in row.dots})


def stage_plots(records: Sequence[LanguageModelRecord], group: ModelGroup) -> list[DotPlot]:
    """Figures of a group, one row a model and one series a split.

    Args:
        records: All records.
        group: Which of them.

    Returns:
        One plot for every figure that there is.
    """
    plots = []
    for key, title, beside in STAGES:
        rows = []
        for row in group.rows:
            places = [(number, row.places[split]) for number, split in enumerate(group.splits) if split in row.places]
            keys = tuple(other for _, other in beside)
            marked = row.name + trained_mark(any(records[place].trained_on for _, place in places))
            rows.append(DotRow(marked, _dots([(number, records[place], key, keys) for number, place in places])))
        names = tuple(name for name, _ in beside)
        plots.append(_plot(f"stages-{key}", title, COLUMNS[key], group.splits, rows, names))
    return [plot for plot in plots if plot.rows]


def part_plots(records: Sequence[LanguageModelRecord], group: ModelGroup) -> list[DotPlot]:
    """What is right of each kind of part that words ask for, one row a kind and one series a model.

    Args:
        records: All records.
        group: Which of them.

    Returns:
        One plot for every split that has such figures.
    """
    plots = []
    for split in group.splits:
        found = [(number, records[row.places[split]]) for number, row in enumerate(group.rows) if split in row.places]
        rows = [
            DotRow(column.title.removesuffix(" %"), _dots([(number, record, column.key, ()) for number, record in found]))
            for column in BY_PART
        ]
        title = f"Parts that are right, by kind: {split}"
        plots.append(_plot(f"parts-{split}", title, COLUMNS["prompt_attributes"], tuple(row.name for row in group.rows), rows))
    return [plot for plot in plots if plot.rows]


def _plot(name: str, title: str, column: Column, series: tuple[str, ...], rows: Sequence[DotRow], beside: tuple[str, ...] = ()) -> DotPlot:
    unit = Axis(column.title, log=False, higher_is_better=column.higher_is_better)
    return DotPlot(name, title, unit, series, tuple(row for row in rows if row.dots), beside)


def _dots(asked: Sequence[tuple[int, LanguageModelRecord, str, tuple[str, ...]]]) -> tuple[Dot, ...]:
    """Dots of those records that have the figure: number of the series, record, key, and keys of what stands beside it."""
    found = []
    for series, record, key, beside in asked:
        value = _percent(record, key)
        if value is not None:
            interval = record.figures[key].interval
            ends = None if interval is None else interval.ends(100.0)
            found.append(Dot(series, value, ends, tuple(_percent(record, other) for other in beside)))
    return tuple(found)


def _percent(record: LanguageModelRecord, key: str) -> float | None:
    figure = record.figures.get(key)
    value = None if figure is None or figure.value is None else 100.0 * figure.value
    return value if value is not None and math.isfinite(value) and abs(value) < HUGE else None
