"""Panels of dots with intervals, one line a figure, rows below each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokbench.report.plots.dots import DotPlot
from tokbench.report.plots.paper import GREY, Paper, fitted, verbatim

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE, ROW = 0.13, 0.12
"""Inches that a line of dots takes, and what a row takes beside its lines."""

NAME_LIMIT = 22
"""Characters a line of a row's name."""

BESIDE: dict[str, dict[str, Any]] = {
    "ceiling": {"marker": "|", "markersize": 8, "markeredgewidth": 1.2},
    "chance": {"marker": "x", "markersize": 4},
    "unedited": {"marker": "+", "markersize": 5},
}
"""How what figures are compared with looks."""


def draw_dots(axes: Axes, data: DotPlot, *, named: bool = True) -> None:
    """A dot a figure with its interval, in the colour of its series; what it is compared with in grey on the same line.

    Args:
        axes: Where to.
        data: What to draw.
        named: Whether the rows' names stand beside them.
    """
    paper = Paper(data.series, (None,) * len(data.series))
    for i, row in enumerate(data.rows):
        for dot in row.dots:
            look, place = paper.look(data.series[dot.series]), i + _line(dot.series, len(data.series))
            for name, value in zip(data.beside, dot.beside, strict=True):
                if value is not None:
                    axes.plot([value], [place], color=GREY, zorder=2, **BESIDE[name])
            if dot.interval:
                axes.hlines(place, *dot.interval, color=look["color"], linewidth=0.9, zorder=2)
            axes.plot([dot.value], [place], markersize=4.5, markeredgecolor="white", markeredgewidth=0.4, zorder=3, **look)
    for name in (data.series[number] for number in data.shown):
        axes.plot([], [], label=name, linestyle="none", markersize=4.5, **paper.look(name))
    for name in data.beside:
        axes.plot([], [], label=name, linestyle="none", color=GREY, **BESIDE[name])
    names = [row.name for row in data.rows]
    axes.set_yticks(range(len(names)), fitted(names, NAME_LIMIT) if named else [""] * len(names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(verbatim(data.axis.label))
    axes.set_title(verbatim(data.title), loc="left")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def dots_height(data: DotPlot) -> float:
    """Inches that a panel takes, title and axis included."""
    lines = max((name.count("\n") + 1 for name in fitted([row.name for row in data.rows], NAME_LIMIT)), default=1)
    return 0.75 + len(data.rows) * max(ROW + LINE * len(data.series), 0.08 + 0.14 * lines)


def _line(series: int, count: int) -> float:
    """Where the line of a series lies, in rows from the middle of its row."""
    share = LINE * count / (ROW + LINE * count)
    return share * ((series + 0.5) / count - 0.5)
