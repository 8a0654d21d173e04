"""What plots show, computed from records: points, Pareto fronts, distributions; nothing is drawn here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tokbench.records.intervals import Interval
from tokbench.records.record import Record
from tokbench.records.store import Rows
from tokbench.report.comparable import SETTINGS_MARK, differing_settings, machine_of, with_other_settings
from tokbench.report.table import HUGE, METRIC_COLUMNS, TIMED, Column
from tokbench.report.words import shortened

RATE_METRICS = ("fd_efflite0", "rfid", "lpips", "lpips_vgg", "psnr", "ssim", "text_accuracy", "face_distance", "face_match")
"""Metrics drawn against rate and speed, where they were measured."""

LOGARITHMIC = ("fd_efflite0", "rfid", "lpips", "lpips_vgg")
"""Distances get a logarithmic axis; decibels are one already."""

NEARLY_ZERO = 1e-6
"""Share of the largest figure up to which one counts as zero on a logarithmic axis."""

TINY = 1e-15
"""The least that a logarithmic axis can hold; the most that any can is ``HUGE``."""

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
        off: Whether its figure (zero on a logarithmic axis, infinity, beyond ``HUGE``) has no place on the axis, and it stands at
            the axis' end.
        unlike: Whether its figure was measured with other settings than most in the plot.
    """

    name: str
    x: float
    y: float
    interval: tuple[float, float] | None = None
    codec: str | None = None
    judged: bool = False
    x_interval: tuple[float, float] | None = None
    off: bool = False
    unlike: bool = False


@dataclass(frozen=True)
class Scatter:
    """Points with their axes.

    Args:
        x: Axis.
        y: Axis.
        points: In the order of the records.
        front: The tokenizers that no other one beats in both directions, by x; anchors take no part.
        left_out: What could not be drawn, and why, a line each.
        note: Which settings of the metric differ among the points; empty if none do.
    """

    x: Axis
    y: Axis
    points: tuple[Point, ...]
    front: tuple[Point, ...]
    left_out: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Distribution:
    """Per-image values of one metric and record.

    Args:
        name: Of the record's row.
        quantiles: At ``QUANTILES``; empty where some values are beyond ``HUGE``.
        mean: Of all; infinite where some values are beyond ``HUGE`` and their sum is not a float.
        lowest: Of all.
        highest: Of all.
        count: How many there are.
        beyond: How many are beyond ``HUGE``, or infinite.
    """

    name: str
    quantiles: tuple[float, ...]
    mean: float
    lowest: float
    highest: float
    count: int
    beyond: int = 0


def metric_axis(key: str) -> Axis:
    """The axis of a metric, by its column in tables; of a metric without one, by its key."""
    column = _COLUMNS.get(key, Column(key, key))
    higher = {"↑": True, "↓": False}.get(column.arrow)
    return Axis(f"{column.title} {column.arrow}".strip(), key in LOGARITHMIC, higher)


def measured(records: Sequence[Record], keys: Sequence[str] = RATE_METRICS) -> list[str]:
    """Those metrics that at least one record has a figure of."""
    return [key for key in keys if any(key in record.metrics and record.metrics[key].measured for record in records)]


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
        The points of the machine that most records were made on; those of others are left out: speeds do not compare. There is no
        front where a pass was too short for an interval of its speed.
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
            with np.errstate(over="ignore", invalid="ignore"):
                values *= _scale(key)
                mean = float(values.mean())
            beyond = int((np.abs(values) > HUGE).sum())
            quantiles = () if beyond else tuple(map(float, np.quantile(values, QUANTILES)))
            found.append(Distribution(name, quantiles, mean, float(values.min()), float(values.max()), len(values), beyond))
    return found


def beyond_word(values: Sequence[float]) -> str:
    """What figures beyond ``HUGE``, all of one sign, are called: infinite if all are, else by the bound that they are beyond."""
    sign = "-" if values[0] < 0 else ""
    return f"{sign}∞" if all(map(math.isinf, values)) else f"{'<' if sign else '>'} {sign}{HUGE:.0e}".replace("e+", "e")


def measured_otherwise(records: Sequence[Record], key: str) -> tuple[list[bool], str]:
    """Find the records whose figure was measured with other settings than most of them.

    Args:
        records: Those of one plot.
        key: Of the metric.

    Returns:
        A flag a record, and a line on what differs; an empty one if nothing does.
    """
    metrics = [record.metrics.get(key) for record in records]
    unlike = with_other_settings(records, key)
    note = f"{SETTINGS_MARK} {_title(key)} with other settings than most of this plot: {differing_settings(metrics)}"
    return unlike, note if any(unlike) else ""


def _scatter(records: Sequence[Record], names: Sequence[str], key: str, x: Axis, places: Sequence[float | str], *, x_key: str) -> Scatter:
    y = metric_axis(key)
    title, scale = _title(key), _scale(key)
    points, drawn, left_out = [], [], []
    figures = [scale * value for record in records if (metric := record.metrics.get(key)) and (value := metric.reached) is not None]
    nearly_zero = max(TINY, NEARLY_ZERO * max((figure for figure in figures if abs(figure) <= HUGE), default=0.0))
    for name, record, at in zip(names, records, places, strict=True):
        metric = record.metrics.get(key)
        if metric is None or metric.reached is None:
            continue
        value = scale * metric.reached
        if isinstance(at, str):
            if at != NOT_TIMED or record.tokenizer.codec is None:  # codecs are timed as a whole, as encoding
                left_out.append(f"{shortened(name, NOTE_NAME)}: {at}")
        elif math.isnan(value):
            left_out.append(f"{shortened(name, NOTE_NAME)}: {title} is nan")
        elif not TINY <= at <= HUGE:
            left_out.append(f"{shortened(name, NOTE_NAME)}: {x.label.removesuffix(' →')} is {at:g}")
        else:
            off = abs(value) > HUGE or (y.log and value <= nearly_zero)
            steady = record.interval(x_key)
            interval = _held(metric.interval, scale, -HUGE) if metric.interval and not off else None
            across = _held(steady, 1.0, TINY) if steady and steady.low > 0 else None
            points.append(Point(name, at, value, interval, record.tokenizer.codec, bool(metric.judged_by_training_network), across, off))
            drawn.append(record)
    if all(point.off for point in points):
        return Scatter(x, y, (), (), (*left_out, *(f"{shortened(point.name, NOTE_NAME)}: {title} is {point.y:g}" for point in points)))
    unlike, note = measured_otherwise(drawn, key)
    points = [replace(point, unlike=other) for point, other in zip(points, unlike, strict=True)]
    own = [point for point in points if point.codec is None]
    if x_key in TIMED and any(record.interval(x_key) is None for record in drawn if record.tokenizer.codec is None):
        own = []  # speeds of one short pass, which another pass would order otherwise
    front = pareto_front(own, x_higher=bool(x.higher_is_better), y_higher=y.higher_is_better) if y.higher_is_better is not None else ()
    return Scatter(x, y, tuple(points), front, tuple(left_out), note)


def _held(interval: Interval, scale: float, least: float) -> tuple[float, float] | None:
    """The part of an interval, from ``least`` on, that an axis can hold; None if an end is not finite."""
    ends = interval.ends(scale)
    return (max(ends[0], least), min(ends[1], HUGE)) if ends else None


def _title(key: str) -> str:
    return _COLUMNS[key].title if key in _COLUMNS else key


def _scale(key: str) -> float:
    return _COLUMNS[key].scale if key in _COLUMNS else 1.0
