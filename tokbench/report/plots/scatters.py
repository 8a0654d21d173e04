"""Rate and speed against quality, computed from records; nothing is drawn here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from tokbench.records.intervals import Interval
from tokbench.records.record import Record
from tokbench.report.plots.data import (
    NOTE_NAME,
    TINY,
    Axis,
    Point,
    Scatter,
    beats,
    measured_otherwise,
    metric_axis,
    on_other_machines,
)
from tokbench.report.table import HUGE, TIMED, Column
from tokbench.report.words import shortened

NEARLY_ZERO = 1e-6
"""Share of the largest figure up to which one counts as zero on a logarithmic axis."""


def rate_scatter(records: Sequence[Record], names: Sequence[str], column: Column) -> Scatter:
    """Bits per pixel against a metric.

    Args:
        records: Records of one protocol and data set.
        names: Names of their rows.
        column: The figure of quality.

    Returns:
        The points; none if no figure has a place on its axis. What has no bits is left out with the reason.
    """
    rates = ["continuous latents have no bits" if record.tokens.bpp is None else record.tokens.bpp for record in records]
    return _scatter(records, names, column, Axis("bits per pixel", True, False), rates, x_key="bpp")


def speed_scatter(records: Sequence[Record], names: Sequence[str], column: Column, *, direction: str = "decode") -> Scatter:
    """Images per second against a metric.

    Args:
        records: Records of one protocol and data set.
        names: Names of their rows.
        column: The figure of quality.
        direction: ``decode`` or ``encode``.

    Returns:
        The points of the machine that most speeds were measured on; those of others are left out: speeds do not compare. So are
        codecs, which are timed as a whole. There is no front where a pass was too short for an interval of its speed.
    """
    codecs = [record.tokenizer.codec is not None for record in records]
    timings = [record.timing for record in records]
    speeds = [timing.decode_images_per_second if direction == "decode" else timing.encode_images_per_second for timing in timings]
    speeds = [None if codec else speed for codec, speed in zip(codecs, speeds, strict=True)]
    places: list[float | str | None] = [
        None if codec else "not timed" if speed is None else "measured on another machine" if other else speed
        for codec, speed, other in zip(codecs, speeds, on_other_machines(records, speeds), strict=True)
    ]
    return _scatter(records, names, column, Axis(f"{direction}d images per second", True, True), places, x_key=direction)


def _scatter(
    records: Sequence[Record], names: Sequence[str], column: Column, x: Axis, places: Sequence[float | str | None], *, x_key: str
) -> Scatter:
    """Points at these places; a text instead of a place says why there is none, None leaves a record out in silence."""
    y = metric_axis(column)
    figures = [None if (metric := record.metrics.get(column.key)) is None else metric.reached for record in records]
    largest = max((scaled for figure in figures if figure is not None and abs(scaled := figure * column.scale) <= HUGE), default=0.0)
    nearly_zero = max(TINY, NEARLY_ZERO * largest)
    points, left_out = [], []
    for i, (name, record, figure, at) in enumerate(zip(names, records, figures, places, strict=True)):
        if figure is None or at is None:
            continue
        value = figure * column.scale
        if isinstance(at, str):
            left_out.append(f"{shortened(name, NOTE_NAME)}: {at}")
        elif math.isnan(value):
            left_out.append(f"{shortened(name, NOTE_NAME)}: {column.title} is nan")
        elif not TINY <= at <= HUGE:
            left_out.append(f"{shortened(name, NOTE_NAME)}: {x.title} is {at:g}")
        else:
            metric, steady = record.metrics[column.key], record.interval(x_key)
            off = abs(value) > HUGE or (y.log and value <= nearly_zero)
            interval = _held(metric.interval, column.scale, -HUGE) if metric.interval and not off else None
            across = _held(steady, 1.0, TINY) if steady and steady.low > 0 else None
            point = Point(i, name, at, value, interval, record.tokenizer.codec, bool(metric.judged_by_training_network), across, off)
            points.append(replace(point, trained=bool(record.trained_on)))
    if all(point.off for point in points):
        return Scatter(x, y, (), (), (*left_out, *(f"{shortened(p.name, NOTE_NAME)}: {column.title} is {p.y:g}" for p in points)))
    unlike, note = measured_otherwise([records[point.record] for point in points], column)
    points = [replace(point, unlike=other) for point, other in zip(points, unlike, strict=True)]
    data = Scatter(x, y, tuple(points), (), tuple(left_out), note)
    # Speeds of one short pass would be ordered otherwise by another pass.
    fleeting = x_key in TIMED and any(records[point.record].interval(x_key) is None for point in points)
    return data if fleeting or y.higher_is_better is None else _ranked(data)


def _ranked(data: Scatter) -> Scatter:
    """The scatter with its front, and what beats each point."""
    own = [point for point in data.points if point.codec is None]
    beaten = {point.record: tuple(other.record for other in own if beats(other, point, data.x, data.y)) for point in own}
    points = tuple(replace(point, beaten_by=beaten.get(point.record, ())) for point in data.points)
    front = sorted((point for point in points if point.codec is None and not point.beaten_by), key=lambda point: point.x)
    return replace(data, points=points, front=tuple(front))


def _held(interval: Interval, scale: float, least: float) -> tuple[float, float] | None:
    """The part of an interval, from ``least`` on, that an axis can hold; None if an end is not finite."""
    ends = interval.ends(scale)
    return (max(ends[0], least), min(ends[1], HUGE)) if ends else None
