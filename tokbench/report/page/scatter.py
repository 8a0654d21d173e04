"""Plots of one figure against another, placed in pixels: rate against distortion, speed against quality; drawn by a template."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from tokbench.records.record import Record
from tokbench.report.comparable import SETTINGS_MARK
from tokbench.report.page.axes import Scale, Tick, fit_scale, short
from tokbench.report.page.labels import Box, Label, place_labels
from tokbench.report.page.model import Entry, Group
from tokbench.report.plots.data import Axis, Point, Scatter, quality
from tokbench.report.plots.scatters import rate_scatter, speed_scatter
from tokbench.report.table import Column, infinite_word
from tokbench.report.training import TRAINED_NOTE

WIDTH, HEIGHT = 420, 312
LEFT, RIGHT, TOP, BOTTOM = 54, 404, 14, 262
"""The frame inside the plot."""

CROWD = 14
"""More marks than this are not all named."""


@dataclass(frozen=True)
class Mark:
    """One record in a plot.

    Args:
        entry: The record.
        point: Its figures.
        x: Pixel.
        y: Pixel.
        bar: Ends of the figure's confidence interval, in pixels, if there is one.
        bar_across: Ends of that of the rate or speed, likewise.
        beaten_by: Numbers of the entries whose points beat it.
        tip: Lines for the reader who points at it.
        label: Name to write beside it, if there is room, with its place, and whether a line leads to it.
    """

    entry: Entry
    point: Point
    x: float
    y: float
    bar: tuple[float, float] | None
    bar_across: tuple[float, float] | None
    beaten_by: tuple[int, ...]
    tip: str
    label: Label | None = None


@dataclass(frozen=True)
class Chart:
    """A plot in pixels.

    Args:
        title: What against what.
        data: What it shows; without points it is not drawn.
        x_label: At the horizontal axis.
        y_label: At the vertical axis.
        x: Ticks of the horizontal axis.
        y: Ticks of the vertical axis.
        marks: The records, codecs first, so that tokenizers lie on top.
        front: The Pareto front as a path, empty if there is none.
        front_end: Pixel at which the front's path ends, across.
        codec_paths: Codec to the path through its rates.
    """

    title: str
    data: Scatter
    x_label: str
    y_label: str
    x: tuple[Tick, ...] = ()
    y: tuple[Tick, ...] = ()
    marks: tuple[Mark, ...] = ()
    front: str = ""
    front_end: float = RIGHT
    codec_paths: dict[str, str] = field(default_factory=dict)


def rate_plots(group: Group) -> list[Chart]:
    """Bits per pixel against every figure of quality the group has."""
    return [_chart(group, column, rate_scatter(*_rows(group), column)) for column in quality(group.metric_columns)]


def speed_plots(group: Group) -> list[Chart]:
    """Speed of decoding against the group's leading figures of quality, and of encoding against LPIPS."""
    return [
        _chart(group, column, speed_scatter(*_rows(group), column, direction=direction))
        for column in quality(group.metric_columns)
        if column.info is not None and column.info.leading
        for direction in ("decode", "encode")
        if direction == "decode" or column.key == "lpips"
    ]


def _rows(group: Group) -> tuple[list[Record], list[str]]:
    """The records, and the names of their rows."""
    return [entry.record for entry in group.entries], [entry.label for entry in group.entries]


def _chart(group: Group, column: Column, data: Scatter) -> Chart:
    title = f"{column.title} against {data.x.title}"
    across, up = replace(data.x, title=f"{data.x.title} (log)").label_across, data.y.label + (" (log)" if data.y.log else "")
    x = fit_scale((end for point in data.points for end in (point.x, *(point.x_interval or ()))), LEFT, RIGHT, log=data.x.log)
    y = _vertical(data)
    if x is None or y is None:
        return Chart(title, data, across, up)
    points = sorted(data.points, key=lambda point: (point.codec is None, point.x))
    marks = [_mark(group, point, x, y, column, data.x) for point in points]
    boxes = [Box(mark.x - 6, mark.y - 6, mark.x + 6, mark.y + 6) for mark in marks]
    texts = _texts([mark.entry for mark in marks], [group.entries[point.record] for point in data.front])
    frame = Box(LEFT, 2, RIGHT + 12, BOTTOM)
    labels = place_labels(
        [(m.x, m.y, text) for m, text in zip(marks, texts, strict=True)], boxes, frame, first=[m.entry.codec is None for m in marks]
    )
    front = data.front[::-1] if data.x.higher_is_better else data.front
    front_end = LEFT if data.x.higher_is_better else RIGHT
    return Chart(
        title,
        data,
        across,
        up,
        x=tuple(x.ticks(5)),
        y=tuple(y.ticks(6)),
        marks=tuple(replace(mark, label=label) for mark, label in zip(marks, labels, strict=True)),
        front=_steps([(x(point.x), y(point.y)) for point in front], front_end),
        front_end=front_end,
        codec_paths=_codec_paths(points, x, y),
    )


def _vertical(data: Scatter) -> Scale | None:
    """A scale for the figures that have a place, and their intervals."""
    shown = [point for point in data.points if not point.off]
    lowest = min((point.y for point in shown), default=0.0)
    ends = [max(end, lowest / 2) if data.y.log else end for point in shown for end in point.interval or ()]
    return fit_scale([*(point.y for point in shown), *ends], BOTTOM, TOP, log=data.y.log)


def _mark(group: Group, point: Point, x: Scale, y: Scale, column: Column, across: Axis) -> Mark:
    entry = group.entries[point.record]
    interval = entry.record.metrics[column.key].interval
    written = _written(point.y, column)
    if interval and (ends := interval.ends(column.scale)):
        written += f"  [{_written(ends[0], column)}, {_written(ends[1], column)}]"
    if point.unlike:
        written += f" {SETTINGS_MARK} measured with other settings"
    if point.trained:
        written += f" {TRAINED_NOTE}"
    if point.off:
        written += " (no place on this axis)"
    steady = point.x_interval
    place = f"{short(point.x)} {across.title}" + (f"  [{short(steady[0])}, {short(steady[1])}]" if steady else "")
    return Mark(
        entry,
        point,
        x(point.x),
        y(point.y),
        bar=(y(point.interval[0]), y(point.interval[1])) if point.interval else None,
        bar_across=(x(steady[0]), x(steady[1])) if steady else None,
        beaten_by=tuple(group.entries[other].number for other in point.beaten_by),
        tip="\n".join([entry.label, f"{column.title} {written}", place]),
    )


def _written(scaled: float, column: Column) -> str:
    """A figure, already in the unit of the column's title, as text; none is minus zero."""
    if math.isinf(scaled):
        return infinite_word(scaled, column.higher_is_better)
    return replace(column, scale=1.0).write(scaled) if abs(scaled) < 1e7 else short(scaled)


def _texts(entries: Sequence[Entry], front: Sequence[Entry]) -> list[str]:
    """Names to write into the plot: none for records that only settings tell apart; in a crowd of tokenizers, those of the front alone."""
    names = [entry.name for entry in entries]
    crowded = {codec: sum((entry.codec is not None) is codec for entry in entries) > CROWD for codec in (True, False)}
    return [
        entry.name
        if names.count(entry.name) == 1 and len(entry.name) <= 28 and (not crowded[entry.codec is not None] or entry in front)
        else ""
        for entry in entries
    ]


def _steps(points: Sequence[tuple[float, float]], end: float) -> str:
    """A path of steps through points and on to ``end``; empty without points."""
    if not points:
        return ""
    path = f"M{points[0][0]:g} {points[0][1]:g}"
    for (_, before), (place, height) in pairwise(points):
        path += f"L{place:g} {before:g}L{place:g} {height:g}"
    return path + f"L{end:g} {points[-1][1]:g}"


def _codec_paths(points: Sequence[Point], x: Scale, y: Scale) -> dict[str, str]:
    """Codec to the path through its points, which are sorted by rate."""
    by_codec: dict[str, list[str]] = {}
    for point in points:
        if point.codec:
            by_codec.setdefault(point.codec, []).append(f"{x(point.x):g} {y(point.y):g}")
    return {codec: "M" + "L".join(places) for codec, places in by_codec.items() if len(places) > 1}
