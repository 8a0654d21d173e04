"""The vertical span of a plot, with strips at its ends for figures that have no place on its axis; nothing is drawn here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tokbench.report.plots.data import TINY, Point, Scatter, beyond_word
from tokbench.report.table import HUGE

MARGIN, STRIP = 0.06, 0.16
"""Shares of the figures' own span: what is free above and below them, and how high a strip is."""


@dataclass(frozen=True)
class Strip:
    """Where figures stand that have no place on the axis.

    Args:
        low: Where it begins on the axis.
        high: Where it ends.
        at: Where the marks stand.
        label: What the figures are.
    """

    low: float
    high: float
    at: float
    label: str


@dataclass(frozen=True)
class Span:
    """A vertical axis.

    Args:
        low: Where the part for figures with a place begins.
        high: Where it ends.
        below: The strip under it, if one is needed.
        above: The strip over it.
    """

    low: float
    high: float
    below: Strip | None = None
    above: Strip | None = None

    @property
    def strips(self) -> list[Strip]:
        """Those there are, the lower one first."""
        return [strip for strip in (self.below, self.above) if strip is not None]

    @property
    def ends(self) -> tuple[float, float]:
        """Ends of the whole axis."""
        return self.below.low if self.below else self.low, self.above.high if self.above else self.high

    def place(self, point: Point) -> float:
        """Where a point stands."""
        strip = self.above if point.y > HUGE else self.below
        return strip.at if point.off and strip is not None else point.y


def vertical_span(data: Scatter) -> Span:
    """The span of a scatter's figures and their intervals; what of an interval an axis cannot hold leaves the span.

    Args:
        data: With at least one figure that has a place.
    """
    log = data.y.log
    shown = [point for point in data.points if not point.off]
    ends = [end for point in shown for end in point.interval or () if abs(end) < HUGE and (end >= TINY or not log)]
    values = [*(point.y for point in shown), *ends]
    lowest, highest = min(values), max(values)
    if log:
        lowest, highest = math.log10(lowest), math.log10(highest)
    width = highest - lowest or (0.3 if log else max(abs(highest) * 0.05, 0.1))
    low, high = lowest - MARGIN * width, highest + MARGIN * width
    below = [point.y for point in data.points if point.off and point.y <= HUGE]
    above = [point.y for point in data.points if point.y > HUGE]
    strips = [
        _strip(low - STRIP * width, low, _word(below, data.y.higher_is_better), log) if below else None,
        _strip(high, high + STRIP * width, beyond_word(above, data.y.higher_is_better), log) if above else None,
    ]
    return Span(_number(low, log), _number(high, log), *strips)


def _strip(low: float, high: float, label: str, log: bool) -> Strip:
    return Strip(_number(low, log), _number(high, log), _number((low + high) / 2, log), label)


def _word(values: Sequence[float], higher_is_better: bool | None) -> str:
    if max(values) < -HUGE:
        return beyond_word(values, higher_is_better)
    if not any(values):
        return "0"
    return "≤ 0" if max(values) <= 0 else "≈ 0"


def _number(place: float, log: bool) -> float:
    return 10.0**place if log else place
