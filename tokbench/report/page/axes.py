"""Axes of the page's plots: a linear or logarithmic scale from figures to pixels, and its ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

PADDING = 0.07
"""Share of the axis on either side of the outermost figures."""


EXTREME = 1e200
"""Figures of this size or more, or of its inverse or less on a logarithmic axis, have no place: their spans are not finite."""


@dataclass(frozen=True)
class Tick:
    """A place on an axis, in pixels, and what stands there; minor ticks have no text."""

    at: float
    text: str = ""


@dataclass(frozen=True)
class Scale:
    """From figures to pixels.

    Args:
        low: Figure at ``start``.
        high: Figure at ``end``.
        log: Whether equal ratios are equally long.
        start: In pixels.
        end: In pixels; may be below ``start``.

    Raises:
        ValueError: If the figures are not finite and ascending, or a logarithmic scale does not begin above zero.
    """

    low: float
    high: float
    log: bool
    start: float
    end: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"a scale needs low < high, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic scale begins above zero, got {self.low}")

    def holds(self, value: float) -> bool:
        """Whether a figure has a place on the axis."""
        return _fits(value, self.log)

    def __call__(self, value: float) -> float:
        """The pixel of a figure; figures beyond an end, infinite ones too, lie on it."""
        if self.log:
            share = 0.0 if value <= 0 else 1.0 if value == math.inf else _ratio(math.log(value), math.log(self.low), math.log(self.high))
        else:
            share = 0.0 if value == -math.inf else 1.0 if value == math.inf else _ratio(value, self.low, self.high)
        return round(self.start + min(1.0, max(0.0, share)) * (self.end - self.start), 2)

    def ticks(self, most: int = 6) -> list[Tick]:
        """Ticks at round figures.

        Args:
            most: Most ticks with text.
        """
        places = _log_places(self.low, self.high, most) if self.log else _linear_places(self.low, self.high, most)
        inside = [(value, named) for value, named in places if self.low <= value <= self.high]
        return [Tick(self(value), short(value) if named else "") for value, named in inside]


def fit_scale(values: Iterable[float], start: float, end: float, *, log: bool = False) -> Scale | None:
    """Make a scale that holds figures with some room around them.

    Args:
        values: The figures; those that have no place on such an axis are ignored.
        start: Pixel of the low end.
        end: Pixel of the high end.
        log: Whether it is logarithmic.

    Returns:
        The scale; None if no figure has a place on it.
    """
    kept = [value for value in values if _fits(value, log)]
    if not kept:
        return None
    low, high = min(kept), max(kept)
    if log:
        middle, width = (math.log10(low) + math.log10(high)) / 2, max(math.log10(high) - math.log10(low), 0.3)
        below, above = middle - width * (0.5 + PADDING), middle + width * (0.5 + PADDING)
        return Scale(10**below, 10**above, True, start, end)
    width = max(high - low, abs(high) * 1e-6, 1e-9) if high > low else max(abs(high) * 0.2, 1e-3)
    low, high = (low, high) if high > low else (low - width / 2, high + width / 2)
    return Scale(low - width * PADDING, high + width * PADDING, False, start, end)


def short(value: float) -> str:
    """A figure in few characters: ``0.05``, ``250``, ``10k``, ``1e-6``."""
    if value == 0:
        return "0"
    size = abs(value)
    if not math.isfinite(value):
        return str(value)
    if size >= 1e7 or size < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    if size >= 1e4:
        return f"{value / 1e3:g}k"
    return f"{value:.4g}"


def _fits(value: float, log: bool) -> bool:
    return abs(value) < EXTREME and (not log or value > 1 / EXTREME)


def _ratio(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low)


def _linear_places(low: float, high: float, most: int) -> list[tuple[float, bool]]:
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10, 20) if factor * power >= rough)
    first = math.ceil(low / step)
    return [(round(i * step, 12) if step > 1e-9 else i * step, True) for i in range(first, first + most + 2)]


def _log_places(low: float, high: float, most: int) -> list[tuple[float, bool]]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = math.log10(high) - math.log10(low)
    if decades < 0.7:  # too short for decades: round figures of a linear axis, at their logarithmic places
        return _linear_places(low, high, max(3, most - 2))
    stride = max(1, math.ceil(decades / most))
    named = {1, 2, 5} if decades * 3 <= most else {1, 3} if decades * 2 <= most else {1}
    if stride > 1:
        return [(10.0**e, e % stride == 0) for e in range(first, last + 1)]
    return [(digit * 10.0**e, digit in named) for e in range(first, last + 1) for digit in range(1, 10)]
