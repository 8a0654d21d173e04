"""Where ticks of paper plots stand, so that their labels never touch; nothing is drawn here."""

from __future__ import annotations

import math
from collections.abc import Sequence

CHARACTER, LINE, GAP = 0.071, 0.12, 0.05
"""Inches that a character of a label takes in width, a label in height, and what is left free between two labels."""

MOST = 8
"""Ticks on an axis."""


def plain(value: float) -> str:
    """A tick's label: a plain number where it is short."""
    return f"{value:g}" if value == 0 or 1e-4 <= abs(value) < 1e6 else f"{value:.0e}"


def log_ticks(low: float, high: float, room: float, *, upright: bool = False) -> list[float]:
    """Ticks of a logarithmic axis.

    Args:
        low: Where it begins, above 0.
        high: Where it ends.
        room: Its length in inches.
        upright: Whether it is the vertical one, whose labels stand above each other.

    Returns:
        They are the most that have room: at 1, 2 and 5, else at powers of ten, else at some of these. Where the axis spans too little for
        two of them, they are round numbers in even steps.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = [10.0**power for power in range(first, last + 1)]
    choices = [[number * decade for decade in decades for number in (1, 2, 5)]]
    choices += [[decade for i, decade in enumerate(decades, start=first) if i % step == 0] for step in range(1, len(decades) + 1)]
    found = [[tick for tick in ticks if low <= tick <= high] for ticks in choices]
    if len(found[0]) < 3:
        steps = [even_steps(low, high, count) for count in (6, 5, 4, 3, 2)]
        found = [found[0], *steps, *(ticks[start::2] for ticks in steps for start in (0, 1))]
    fitting = [ticks for ticks in found if len(ticks) <= MOST and _fit([_place(tick, low, high) * room for tick in ticks], ticks, upright)]
    return max(fitting, key=len, default=[])


def even_steps(low: float, high: float, count: int) -> list[float]:
    """Round numbers in even steps from ``low`` to ``high``, about ``count`` of them."""
    raw = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= raw)
    digits = max(0, -math.floor(math.log10(step)))
    near = [round(i * step, digits) for i in range(math.floor(low / step), math.ceil(high / step) + 1)]
    return [tick for tick in near if low <= tick <= high]


def labels_fit(places: Sequence[float], labels: Sequence[str], *, upright: bool = False) -> bool:
    """Whether no two labels touch.

    Args:
        places: Inches along the axis, ascending.
        labels: At these places, each in the middle.
        upright: Whether they stand above each other.
    """
    sizes = [LINE if upright else CHARACTER * len(label) for label in labels]
    pairs = zip(places, places[1:], sizes, sizes[1:], strict=False)
    return all(after - before >= (one + other) / 2 + GAP for before, after, one, other in pairs)


def _fit(places: Sequence[float], ticks: Sequence[float], upright: bool) -> bool:
    return labels_fit(places, [plain(tick) for tick in ticks], upright=upright)


def _place(value: float, low: float, high: float) -> float:
    return math.log(value / low) / math.log(high / low)
