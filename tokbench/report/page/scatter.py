"""Plots of one figure against another: rate against distortion, speed against quality; computed here, drawn by a template."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tokbench.report.comparable import SETTINGS_MARK, with_other_settings
from tokbench.report.page.axes import Scale, Tick, fit_scale, short
from tokbench.report.page.labels import Box, place_labels
from tokbench.report.page.model import Entry, Group
from tokbench.report.plots.data import LOGARITHMIC, NEARLY_ZERO, RATE_METRICS
from tokbench.report.table import TIMED, Column

WIDTH, HEIGHT = 420, 312
LEFT, RIGHT, TOP, BOTTOM = 54, 404, 14, 262
"""The frame inside the plot."""

SPEED_METRICS = ("fd_efflite0", "rfid", "lpips", "psnr")
"""Metrics drawn against speed."""

CROWD = 14
"""More marks than this are not all named."""


@dataclass(frozen=True)
class Axis:
    """Label and ticks.

    Args:
        label: What stands at the axis.
        ticks: On it.
        log: Whether it is logarithmic.
    """

    label: str
    ticks: tuple[Tick, ...]
    log: bool


@dataclass(frozen=True)
class Mark:
    """One record in a plot.

    Args:
        entry: The record.
        figures: Across and up, as the front is judged by them.
        x: Pixel.
        y: Pixel.
        bar: Ends of the figure's confidence interval, in pixels, if there is one.
        bar_across: Ends of that of the rate or speed, likewise.
        tip: Lines for the reader who points at it.
        off: Whether its figure (zero, infinity) has no place on the axis, and it stands on the frame.
        label: Name to write beside it, if there is room, with the place.
    """

    entry: Entry
    figures: tuple[float, float]
    x: float
    y: float
    bar: tuple[float, float] | None
    bar_across: tuple[float, float] | None
    tip: str
    off: bool
    label: tuple[str, float, float, str] | None = None


@dataclass(frozen=True)
class Scatter:
    """A plot.

    Args:
        title: What against what.
        x: Horizontal axis.
        y: Vertical axis.
        marks: The records, codecs first, so that tokenizers lie on top.
        front: Points of the Pareto front of the tokenizers as a path, empty if there is none.
        front_end: Pixel at which the front's path ends, across.
        more: Whether more is better across.
        higher: Whether higher is better.
        codec_paths: Codec to the path through its rates.
        left_out: Names that have no place here, and why.
    """

    title: str
    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    front: str
    front_end: float
    more: bool
    higher: bool
    codec_paths: dict[str, str]
    left_out: tuple[str, ...]


def rate_plots(group: Group) -> list[Scatter]:
    """Bits per pixel against every figure of quality the group has."""

    def rate(entry: Entry) -> float | None:
        return entry.record.tokens.bpp

    return [
        plot
        for column in _plotted(group)
        if (
            plot := _scatter(
                group, column, rate, "bits per pixel", more_is_better=False, absent="no bits, its latents are continuous", x_key="bpp"
            )
        )
    ]


def speed_plots(group: Group) -> list[Scatter]:
    """Speed of decoding, and of encoding, against the group's first figures of quality."""

    def decoding(entry: Entry) -> float | None:
        return None if entry.codec else entry.record.timing.decode_images_per_second

    def encoding(entry: Entry) -> float | None:
        return None if entry.codec else entry.record.timing.encode_images_per_second

    plots = []
    for column in [c for c in _plotted(group) if c.key in SPEED_METRICS]:
        for get, direction in ((decoding, "decode"), (encoding, "encode")):
            if direction == "encode" and column.key != "lpips":
                continue
            label = f"{direction}d images per second"
            plots.append(_scatter(group, column, get, label, more_is_better=True, absent="no speed measured", x_key=direction))
    return [plot for plot in plots if plot]


def _plotted(group: Group) -> list[Column]:
    return [column for column in group.metric_columns if column.key in RATE_METRICS]


def _scatter(
    group: Group,
    column: Column,
    get: Callable[[Entry], float | None],
    x_label: str,
    *,
    more_is_better: bool,
    absent: str,
    x_key: str,
) -> Scatter | None:
    found: list[tuple[Entry, float, float]] = []
    left_out = []
    for entry in group.entries:
        across, up = get(entry), entry.figure(column.key)
        if across is not None and across > 0 and math.isfinite(across) and up is not None:
            found.append((entry, across, up * column.scale))
        elif up is not None and not (entry.codec and more_is_better):
            left_out.append(f"{entry.label}: {absent}")
    steady = {entry.number: _interval_across(entry, x_key) for entry, _, _ in found}
    x = fit_scale((end for entry, across, _ in found for end in (across, *steady[entry.number])), LEFT, RIGHT, log=True)
    y = _vertical(found, column)
    if x is None or y is None:
        return None
    found.sort(key=lambda item: (item[0].codec is None, item[1]))
    others = with_other_settings([entry.record for entry in group.entries], column.key)
    unlike = {entry.number for entry, other in zip(group.entries, others, strict=True) if other}
    marks = [
        _mark(entry, across, up, x, y, column, x_label, steady[entry.number], unlike=entry.number in unlike) for entry, across, up in found
    ]
    boxes = [Box(mark.x - 6, mark.y - 6, mark.x + 6, mark.y + 6) for mark in marks]
    higher = column.arrow == "↑"
    own = [item for item in found if item[0].codec is None]
    if x_key in TIMED and any(item[0].record.interval(x_key) is None for item in own):
        own = []  # speeds of one short pass, which another pass would order otherwise
    front = _front(own, more=more_is_better, higher=higher)
    front_end = LEFT if more_is_better else RIGHT
    texts = _texts([mark.entry for mark in marks], [entry for entry, _, _ in front])
    labels = place_labels([(m.x, m.y, text) for m, text in zip(marks, texts, strict=True)], boxes, Box(LEFT, 2, RIGHT + 12, BOTTOM))
    marks = [replace(mark, label=label) for mark, label in zip(marks, labels, strict=True)]
    return Scatter(
        title=f"{column.title} against {x_label}",
        x=Axis(f"{x_label} (log) →" if more_is_better else f"← {x_label} (log)", tuple(x.ticks(5)), True),
        y=Axis(f"{column.title} {column.arrow}".strip(), tuple(y.ticks(6)), y.log),
        marks=tuple(marks),
        front=_steps([(x(across), y(up)) for _, across, up in front], front_end),
        front_end=front_end,
        more=more_is_better,
        higher=higher,
        codec_paths={} if more_is_better else _codec_paths(found, x, y),
        left_out=tuple(dict.fromkeys(left_out)),
    )


def _vertical(found: Sequence[tuple[Entry, float, float]], column: Column) -> Scale | None:
    """A scale for the figures and their intervals; figures that are zero, or nearly, against the largest stay off a logarithmic one."""
    log = column.key in LOGARITHMIC
    largest = max((up for _, _, up in found if math.isfinite(up)), default=0.0)
    kept = [(entry, up) for entry, _, up in found if math.isfinite(up) and (not log or up > largest * NEARLY_ZERO > 0)]
    if not kept:
        return fit_scale((0.0 for _ in found), BOTTOM, TOP)
    lowest = min(up for _, up in kept)
    ends = [max(end, lowest / 2) if log else end for entry, _ in kept for end in _interval(entry, column)]
    return fit_scale([*(up for _, up in kept), *ends], BOTTOM, TOP, log=log)


def _interval(entry: Entry, column: Column) -> tuple[float, ...]:
    metric = entry.record.metrics.get(column.key)
    return () if metric is None or metric.interval is None else metric.interval.ends(column.scale) or ()


def _interval_across(entry: Entry, x_key: str) -> tuple[float, ...]:
    """Ends of the interval of a rate or speed that have a place on a logarithmic axis."""
    interval = entry.record.interval(x_key)
    return () if interval is None or interval.low <= 0 else interval.ends() or ()


def _mark(
    entry: Entry, across: float, up: float, x: Scale, y: Scale, column: Column, x_label: str, steady: tuple[float, ...], *, unlike: bool
) -> Mark:
    ends = _interval(entry, column)
    written = _written(up, column)
    if ends:
        written += f"  [{_written(ends[0], column)}, {_written(ends[1], column)}]"
    if unlike:
        written += f" {SETTINGS_MARK} measured with other settings"
    off = not y.holds(up) or up < y.low or up > y.high
    place = f"{short(across)} {x_label}" + (f"  [{short(steady[0])}, {short(steady[1])}]" if steady else "")
    tip = "\n".join([entry.label, f"{column.title} {written}" + (" (no place on this axis)" if off else ""), place])
    bar = None if off or not ends else (y(ends[0]), y(ends[1]))
    return Mark(entry, (across, up), x(across), y(up), bar, (x(steady[0]), x(steady[1])) if steady else None, tip, off)


def _written(scaled: float, column: Column) -> str:
    """A figure, already in the unit of the column's title, as text; none is minus zero."""
    return replace(column, scale=1.0).write(scaled) if abs(scaled) < 1e7 else short(scaled)


def _texts(entries: Sequence[Entry], front: Sequence[Entry]) -> list[str]:
    """Names to write into the plot: none for records that only settings tell apart; in a crowd, those of the front alone."""
    names = [entry.name for entry in entries]
    crowded = len(names) > CROWD
    return [
        entry.name if names.count(entry.name) == 1 and len(entry.name) <= 28 and (not crowded or entry in front) else ""
        for entry in entries
    ]


def _front(found: Sequence[tuple[Entry, float, float]], *, more: bool, higher: bool) -> list[tuple[Entry, float, float]]:
    """The records that no other one beats in both figures, by the first of them."""
    kept: list[tuple[Entry, float, float]] = []
    for item in sorted(found, key=lambda item: (-item[1] if more else item[1], -item[2] if higher else item[2])):
        if not kept or (item[2] > kept[-1][2] if higher else item[2] < kept[-1][2]):
            kept.append(item)
    return kept


def _steps(points: Sequence[tuple[float, float]], end: float) -> str:
    """A path of steps through points and on to ``end``; empty without points."""
    if not points:
        return ""
    path = f"M{points[0][0]:g} {points[0][1]:g}"
    for (_, before), (place, height) in pairwise(points):
        path += f"L{place:g} {before:g}L{place:g} {height:g}"
    return path + f"L{end:g} {points[-1][1]:g}"


def _codec_paths(found: Sequence[tuple[Entry, float, float]], x: Scale, y: Scale) -> dict[str, str]:
    by_codec: dict[str, list[str]] = {}
    for entry, across, up in sorted(found, key=lambda item: item[1]):
        if entry.codec:
            by_codec.setdefault(entry.codec, []).append(f"{x(across):g} {y(up):g}")
    return {codec: "M" + "L".join(points) for codec, points in by_codec.items() if len(points) > 1}
