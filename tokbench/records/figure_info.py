"""What a figure says of itself: how it is called, written and drawn, what it means, and what it takes to measure it; no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from tokbench.configs import UNLESS_DEFAULT

LONGEST = {"key": 60, "title": 60, "unit": 60, "symbol": 12, "meaning": 200}
"""Characters of texts, which tables, plots and pages show as they are."""

MOST_DIGITS = 12
"""Decimals a figure may be written with."""


@dataclass(frozen=True)
class FigureInfo:
    """One figure. Those of this package are in ``tokbench.records.figures``; a metric of others brings its own.

    Args:
        key: Its name in records, and what ``--metrics`` and ``--columns`` take.
        title: Its name in tables and plots.
        unit: Unit of the number in a record.
        higher_is_better: Direction; None where neither is better.
        meaning: What it is, in a line.
        kind: What it says something of: the ``quality`` of reconstructions, the ``codes``, the ``bound`` that quality cannot pass, the
            ``rate`` or the ``speed``. Quality is drawn against rate and speed.
        digits: Decimals it is written with.
        scale: The number of a record is multiplied by this before it is written or drawn.
        symbol: What follows the number that is written, such as ``dB``.
        axis: Axis of plots: ``log`` or ``linear``.
        per_image: Whether it is the mean of one value an image; else it is one of the whole set.
        leading: Whether it is shown where there is room for few.
        metric: What measures it; empty for a metric of the figure's own name.
        by_default: Whether it is measured unless metrics are named.
        networks: Networks that judge, by the names ``trained_with`` uses.
        asset: The network file it needs, as ``tokbench weights get`` takes it; empty if none.
        extra: The extra of this package it needs; empty if none.
        data: What ``--data`` must be for it to say something; empty for any.
        option: Option of ``run`` that it needs; empty if none.

    Raises:
        ValueError: If digits or scale are out of range, or a text is long or no line of printable characters.
    """

    key: str
    title: str
    unit: str
    higher_is_better: bool | None
    meaning: str
    kind: Literal["quality", "codes", "bound", "rate", "speed"] = "quality"
    digits: int = 4
    scale: float = 1.0
    symbol: str = ""
    axis: Literal["linear", "log"] = "linear"
    per_image: bool = True
    leading: bool = False
    metric: str = ""
    by_default: bool = True
    networks: tuple[str, ...] = ()
    asset: str = ""
    extra: str = ""
    data: str = ""
    option: str = field(default="", metadata=UNLESS_DEFAULT)

    def __post_init__(self) -> None:
        for name, most in LONGEST.items():
            text = getattr(self, name)
            if not (isinstance(text, str) and text.isprintable() and len(text) <= most):
                raise ValueError(f"{name} must be a line of at most {most} printable characters")
        if not 0 <= self.digits <= MOST_DIGITS:
            raise ValueError(f"digits must be 0 to {MOST_DIGITS}, got {self.digits}")
        if not (self.scale > 0 and math.isfinite(self.scale)):
            raise ValueError(f"scale must be positive and finite, got {self.scale}")

    @property
    def heading(self) -> str:
        """Title and symbol."""
        return f"{self.title} {self.symbol}".strip()

    @property
    def arrow(self) -> str:
        """``↑`` if more is better, ``↓`` if less is, else empty."""
        return {True: "↑", False: "↓", None: ""}[self.higher_is_better]

    @property
    def of_whole_sets(self) -> bool:
        """Whether it says how far two sets of images are apart, and so compares at equal numbers of images only."""
        return self.kind == "quality" and not self.per_image

    @property
    def measured_by(self) -> str:
        """Name of its metric."""
        return self.metric or self.key
