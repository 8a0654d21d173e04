"""Plots of dots in pixels: rows with a name, below it one dot a series with its interval; drawn by a template."""

from __future__ import annotations

from dataclasses import dataclass

from tokbench.report.page.axes import Scale, Tick, fit_scale
from tokbench.report.page.model import COLOURS, SHAPES, clipped
from tokbench.report.plots.dots import Dot, DotPlot

WIDTH, LEFT, RIGHT = 420, 12, 408
LEAST = 0.5
"""Per cent on either side of all figures, so that equal ones have an axis of round numbers."""

NAME, LINE, AXIS = 20, 15, 34
"""Pixels in height that the name of a row, each line of dots and the axis take."""


@dataclass(frozen=True)
class Mark:
    """A dot.

    Args:
        series: Number of its series; gives it colour and shape.
        x: Pixel across.
        y: Pixel down.
        bar: Ends of its interval in pixels, if there is one.
        beside: Names of what it is compared with, and pixels of these.
        tip: Lines for the reader who points at it.
    """

    series: int
    x: float
    y: float
    bar: tuple[float, float] | None
    beside: tuple[tuple[str, float], ...]
    tip: str

    @property
    def colour(self) -> int:
        """Number of the colour."""
        return self.series % COLOURS

    @property
    def shape(self) -> int:
        """Number of the shape; with the colour it differs for each of 40 series."""
        return (self.series + self.series // COLOURS) % SHAPES


@dataclass(frozen=True)
class Row:
    """A name, the pixel of its baseline, and its dots."""

    name: str
    y: float
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class DotChart:
    """A plot.

    Args:
        title: What it shows.
        label: Below the axis.
        ticks: Ticks of the axis.
        rows: From top to bottom.
        height: Height in pixels; the axis is at ``height - AXIS``.
        key: A mark and its name for every series that has dots.
        beside: Names of what dots are compared with.
    """

    title: str
    label: str
    ticks: tuple[Tick, ...]
    rows: tuple[Row, ...]
    height: float
    key: tuple[tuple[Mark, str], ...]
    beside: tuple[str, ...]

    @property
    def base(self) -> float:
        """Pixel of the axis."""
        return self.height - AXIS


def dot_chart(data: DotPlot) -> DotChart | None:
    """Place a plot in pixels.

    Args:
        data: What it shows.

    Returns:
        The plot; None if no figure has a place.
    """
    dots = [dot for row in data.rows for dot in row.dots]
    values = [value for dot in dots for value in (dot.value, *(dot.interval or ()), *dot.beside) if value is not None]
    scale = fit_scale([*values, *(value + room for value in values for room in (-LEAST, LEAST))], LEFT, RIGHT)
    if scale is None:
        return None
    rows, top = [], 0.0
    for row in data.rows:
        marks = tuple(_mark(data, row.name, dot, scale, top + NAME + LINE * (i + 0.5)) for i, dot in enumerate(row.dots))
        rows.append(Row(clipped(row.name, 60), top + NAME - 6, marks))
        top += NAME + LINE * len(row.dots)
    key = tuple((Mark(number, 0, 0, None, (), ""), clipped(data.series[number], 60)) for number in data.shown)
    return DotChart(data.title, data.axis.label_across, tuple(scale.ticks(5)), tuple(rows), top + 8 + AXIS, key, data.beside)


def _mark(data: DotPlot, name: str, dot: Dot, scale: Scale, y: float) -> Mark:
    lines = [f"{clipped(name)}, {clipped(data.series[dot.series])}", f"{data.axis.title} {dot.value:.1f}"]
    if dot.interval:
        lines[-1] += f"  [{dot.interval[0]:.1f}, {dot.interval[1]:.1f}]"
    told = [(other, value) for other, value in zip(data.beside, dot.beside, strict=True) if value is not None]
    lines += [f"{other} {value:.1f}" for other, value in told]
    bar = (scale(dot.interval[0]), scale(dot.interval[1])) if dot.interval else None
    return Mark(dot.series, scale(dot.value), y, bar, tuple((other, scale(value)) for other, value in told), "\n".join(lines))
