"""What plots show, computed from records: points, Pareto fronts, distributions; nothing is drawn here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tokbench.bench.record import Record
from tokbench.bench.store import Rows
from tokbench.report.comparable import machine_of
from tokbench.report.table import METRIC_COLUMNS, Column
from tokbench.report.words import shortened

RATE_METRICS = ("fd_efflite0", "rfid", "lpips", "lpips_vgg", "psnr", "ssim", "text_accuracy", "face_distance", "face_match")
"""Metrics drawn against rate and speed, where they were measured."""

LOGARITHMIC = ("fd_efflite0", "rfid", "lpips", "lpips_vgg")
"""Distances get a logarithmic axis; decibels are one already."""

NEARLY_ZERO = 1e-6
"""Share of the largest figure up to which one counts as zero on a logarithmic axis."""

NOT_TIMED = "not timed"

NOTE_NAME = 60
"""Characters of a name in a note on what is left out."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

_COLUMNS = {column.key: column for column in METRIC_COLUMNS}


@dataclass(frozen=True)
class Axis:
    """One axis.

    Args:
        label: With unit, and an arrow towards the better end.
        log: Whether it is logarithmic.
        higher_is_better: Direction; None if there is none.
    """

    label: str
    log: bool
    higher_is_better: bool | None


@dataclass(frozen=True)
class Point:
    """One record in a plot.

    Args:
        name: Of its row.
        x: Rate or speed.
        y: The figure.
        interval: 95 %, where there is one.
        codec: ``webp`` or ``jpeg`` for an anchor, else None.
        judged: Whether the tokenizer was trained with the network that judges here.
        x_interval: 95 % of the rate or speed, where there is one.
        off: Whether its figure (zero on a logarithmic axis, infinity) has no place on the axis, and it stands at the axis' end.
    """

    name: str
    x: float
    y: float
    interval: tuple[float, float] | None = None
    codec: str | None = None
    judged: bool = False
    x_interval: tuple[float, float] | None = None
    off: bool = False


@dataclass(frozen=True)
class Scatter:
    """Points with their axes.

    Args:
        x: Axis.
        y: Axis.
        points: In the order of the records.
        front: The tokenizers that no other one beats in both directions, by x; anchors take no part.
        left_out: What could not be drawn, and why, a line each.
    """

    x: Axis
    y: Axis
    points: tuple[Point, ...]
    front: tuple[Point, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Distribution:
    """Per-image values of one metric and record.

    Args:
        name: Of the record's row.
        quantiles: At ``QUANTILES``; empty where some values are infinite.
        mean: Of all.
        lowest: Of all.
        highest: Of all.
        count: How many there are.
        infinite: How many are infinite.
    """

    name: str
    quantiles: tuple[float, ...]
    mean: float
    lowest: float
    highest: float
    count: int
    infinite: int = 0


def metric_axis(key: str) -> Axis:
    """The axis of a metric, by its column in tables; of a metric without one, by its key."""
    column = _COLUMNS.get(key, Column(key, key))
    higher = {"↑": True, "↓": False}.get(column.arrow)
    return Axis(f"{column.title} {column.arrow}".strip(), key in LOGARITHMIC, higher)


def measured(records: Sequence[Record], keys: Sequence[str] = RATE_METRICS) -> list[str]:
    """Those metrics that at least one record has a figure of."""
    return [key for key in keys if any(key in record.metrics and record.metrics[key].value is not None for record in records)]


def rate_scatter(records: Sequence[Record], names: Sequence[str], key: str) -> Scatter:
    """Bits per pixel against a metric.

    Args:
        records: Of one protocol and data set.
        names: Of their rows.
        key: Of the metric.

    Returns:
        The points; none if no figure has a place on its axis. What has no bits is left out with the reason.
    """
    rates = ["continuous latents have no bits" if record.tokens.bpp is None else record.tokens.bpp for record in records]
    return _scatter(records, names, key, Axis("bits per pixel", True, False), rates, x_key="bpp")


def speed_scatter(records: Sequence[Record], names: Sequence[str], key: str, *, direction: str = "decode") -> Scatter:
    """Images per second against a metric.

    Args:
        records: Of one protocol and data set.
        names: Of their rows.
        key: Of the metric.
        direction: ``decode`` or ``encode``.

    Returns:
        The points of the machine that most records were made on; those of others are left out: speeds do not compare.
    """
    machines = [machine_of(record) for record in records]
    usual = Counter(machines).most_common(1)[0][0] if machines else None
    speeds: list[float | str] = []
    for record, machine in zip(records, machines, strict=True):
        timing = record.timing
        rate = timing.decode_images_per_second if direction == "decode" else timing.encode_images_per_second
        missing = NOT_TIMED if machine == usual else "measured on another machine"
        speeds.append(missing if rate is None or machine != usual else rate)
    return _scatter(records, names, key, Axis(f"{direction} images/s →", True, True), speeds, x_key=direction)


def pareto_front(points: Sequence[Point], *, x_higher: bool, y_higher: bool) -> tuple[Point, ...]:
    """Find the points that no other one equals or beats in both directions while beating it in one.

    Args:
        points: Candidates.
        x_higher: Whether more x is better.
        y_higher: Whether more y is better.

    Returns:
        By x, ascending.
    """

    def costs(point: Point) -> tuple[float, float]:
        return -point.x if x_higher else point.x, -point.y if y_higher else point.y

    front: list[Point] = []
    for point in sorted(points, key=costs):
        if not front or costs(point)[1] < costs(front[-1])[1] or costs(point) == costs(front[-1]):
            front.append(point)
    return tuple(sorted(front, key=lambda point: point.x))


def distributions(rows: Sequence[Rows], names: Sequence[str], key: str) -> list[Distribution]:
    """Quantiles of the per-image values of one metric; records without values, or with NaN among them, are left out."""
    found = []
    for name, columns in zip(names, rows, strict=True):
        values = np.array([value for value in columns.get(key, {}).values() if value is not None], dtype=np.float64)
        if len(values) and not np.isnan(values).any():
            values *= _scale(key)
            infinite = int(np.isinf(values).sum())
            quantiles = () if infinite else tuple(map(float, np.quantile(values, QUANTILES)))
            found.append(
                Distribution(name, quantiles, float(values.mean()), float(values.min()), float(values.max()), len(values), infinite)
            )
    return found


def _scatter(records: Sequence[Record], names: Sequence[str], key: str, x: Axis, places: Sequence[float | str], *, x_key: str) -> Scatter:
    y = metric_axis(key)
    title = _COLUMNS[key].title if key in _COLUMNS else key
    points, left_out = [], []
    figures = [metric.value for record in records if (metric := record.metrics.get(key)) and metric.value is not None]
    nearly_zero = NEARLY_ZERO * max(filter(math.isfinite, figures), default=0.0)
    for name, record, at in zip(names, records, places, strict=True):
        metric = record.metrics.get(key)
        if metric is None or metric.value is None:
            continue
        value = metric.value
        if isinstance(at, str):
            if at != NOT_TIMED or _codec(record) is None:  # codecs are timed as a whole, as encoding
                left_out.append(f"{shortened(name, NOTE_NAME)}: {at}")
        elif math.isnan(value):
            left_out.append(f"{shortened(name, NOTE_NAME)}: {title} is nan")
        elif not math.isfinite(at) or at <= 0:
            left_out.append(f"{shortened(name, NOTE_NAME)}: {x.label.removesuffix(' →')} is {at:g}")
        else:
            off = math.isinf(value) or (y.log and value <= nearly_zero)
            scale, steady = _scale(key), record.interval(x_key)
            interval = metric.interval.ends(scale) if metric.interval and not off else None
            across = steady.ends() if steady and steady.low > 0 else None
            points.append(Point(name, at, scale * value, interval, _codec(record), metric.judged_by_training_network, across, off))
    if all(point.off for point in points):
        return Scatter(x, y, (), (), (*left_out, *(f"{shortened(point.name, NOTE_NAME)}: {title} is {point.y:g}" for point in points)))
    own = [point for point in points if point.codec is None]
    front = pareto_front(own, x_higher=bool(x.higher_is_better), y_higher=y.higher_is_better) if y.higher_is_better is not None else ()
    return Scatter(x, y, tuple(points), front, tuple(left_out))


def _scale(key: str) -> float:
    return _COLUMNS[key].scale if key in _COLUMNS else 1.0


def _codec(record: Record) -> str | None:
    name = record.tokenizer.name
    return name.removeprefix("anchor/").partition("-")[0] if name.startswith("anchor/") else None
