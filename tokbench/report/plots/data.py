"""What plots show, the same on paper and on the page: axes, points, curves, distributions, and the rules for them; nothing is drawn here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tokbench.records.record import CodebookUse, Record
from tokbench.report.comparable import SETTINGS_MARK, differing_settings, machine_of, unlike_most, with_other_settings
from tokbench.report.table import HUGE, Column, infinite_word
from tokbench.report.training import TRAINED_MARK

TINY = 1e-15
"""The least that a logarithmic axis can hold; the most that any can is ``HUGE``."""

NOTE_NAME = 60
"""Characters of a name in a note on what is left out."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Axis:
    """One axis.

    Args:
        title: With unit.
        log: Whether it is logarithmic.
        higher_is_better: Direction; None if there is none.
    """

    title: str
    log: bool
    higher_is_better: bool | None

    @property
    def label(self) -> str:
        """The title with an arrow towards the better end, up or down."""
        return f"{self.title} {self._arrow('↑', '↓')}".strip()

    @property
    def label_across(self) -> str:
        """The title with an arrow towards the better end, left or right."""
        return f"{self._arrow('', '← ')}{self.title}{self._arrow(' →', '')}"

    def _arrow(self, higher: str, lower: str) -> str:
        return "" if self.higher_is_better is None else higher if self.higher_is_better else lower


@dataclass(frozen=True)
class Point:
    """One record in a plot.

    Args:
        record: Its place among the records of the plot, from 0.
        name: Name of its row.
        x: Rate or speed.
        y: The figure.
        interval: 95 %, where there is one.
        codec: ``webp`` or ``jpeg`` for an anchor, else None.
        judged: Whether the tokenizer was trained with the network that judges here.
        x_interval: 95 % of the rate or speed, where there is one.
        off: Whether its figure (zero on a logarithmic axis, infinity, beyond ``HUGE``) has no place on the axis, and it stands at
            the axis' end.
        unlike: Whether its figure was measured with other settings than most in the plot.
        beaten_by: Places of the records whose points beat it; empty for codecs, which take no part.
        trained: Whether the tokenizer was trained on the images measured.
    """

    record: int
    name: str
    x: float
    y: float
    interval: tuple[float, float] | None = None
    codec: str | None = None
    judged: bool = False
    x_interval: tuple[float, float] | None = None
    off: bool = False
    unlike: bool = False
    beaten_by: tuple[int, ...] = ()
    trained: bool = False

    @property
    def signs(self) -> str:
        """The marks that stand beside it, as in tables."""
        return SETTINGS_MARK * self.unlike + TRAINED_MARK * self.trained


@dataclass(frozen=True)
class Scatter:
    """Points with their axes.

    Args:
        x: Axis.
        y: Axis.
        points: In the order of the records.
        front: The tokenizers that no other one beats, by x; codecs take no part.
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
class RankCurve:
    """How often the codes of one codebook are used, the most used first.

    Args:
        record: Its place among the records of the plot, from 0.
        name: Name of the record's row.
        number: Number of the codebook in the record, from 0.
        use: The curve.
    """

    record: int
    name: str
    number: int
    use: CodebookUse


@dataclass(frozen=True)
class UseHistogram:
    """How many codes are used how often.

    Args:
        name: Name of the record's row.
        edges: Edges of the bins, as multiples of the use that all codes would have if they had the same.
        shares: Shares of all codes, in each bin.
        dead: Share of codes that never occur.
    """

    name: str
    edges: tuple[float, ...]
    shares: tuple[float, ...]
    dead: float


@dataclass(frozen=True)
class Distribution:
    """Per-image values of one metric and record.

    Args:
        name: Name of the record's row.
        quantiles: At ``QUANTILES``; empty where some values are beyond ``HUGE``.
        mean: Mean of all; infinite where some values are beyond ``HUGE`` and their sum is not a float.
        lowest: Lowest of all.
        highest: Highest of all.
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


def quality(columns: Sequence[Column]) -> list[Column]:
    """Those figures that are drawn against rate and speed."""
    return [column for column in columns if column.info is not None and column.info.kind == "quality"]


def metric_axis(column: Column) -> Axis:
    """The axis of a figure, by its column in tables."""
    log = column.info is not None and column.info.axis == "log"
    return Axis(column.title, log, column.higher_is_better)


def beats(one: Point, other: Point, x: Axis, y: Axis) -> bool:
    """Whether a point is as good as another in both directions and better in one; of two equal points neither beats the other."""

    def costs(point: Point) -> tuple[float, float]:
        return -point.x if x.higher_is_better else point.x, -point.y if y.higher_is_better else point.y

    (across, up), (other_across, other_up) = costs(one), costs(other)
    return across <= other_across and up <= other_up and (across, up) != (other_across, other_up)


def on_other_machines(records: Sequence[Record], speeds: Sequence[float | None]) -> list[bool]:
    """Find the speeds that do not compare: those of another machine, or another use of it, than most speeds.

    Args:
        records: Those of one plot.
        speeds: Speeds of each; None where there is none.
    """
    return unlike_most([None if speed is None else machine_of(record) for record, speed in zip(records, speeds, strict=True)])


def measured_otherwise(records: Sequence[Record], column: Column) -> tuple[list[bool], str]:
    """Find the records whose figure was measured with other settings than most of them.

    Args:
        records: Those of one plot.
        column: The figure.

    Returns:
        A flag a record, and a line on what differs; an empty one if nothing does.
    """
    unlike = with_other_settings(records, column.key)
    differing = differing_settings([record.metrics.get(column.key) for record in records])
    note = f"{SETTINGS_MARK} {column.title} with other settings than most of this plot: {differing}"
    return unlike, note if any(unlike) else ""


def beyond_word(values: Sequence[float], higher_is_better: bool | None) -> str:
    """What figures beyond ``HUGE``, all of one sign, are called: exact or infinite if all are infinite, else by the bound."""
    if all(map(math.isinf, values)):
        return infinite_word(values[0], higher_is_better)
    sign = "-" if values[0] < 0 else ""
    return f"{'<' if sign else '>'} {sign}{HUGE:.0e}".replace("e+", "e")
