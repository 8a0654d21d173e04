"""Distributions of per-image figures, one row a tokenizer, binned here so that thousands of images weigh nothing on the page."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tokbench.report.page.axes import Tick, fit_scale, short
from tokbench.report.page.labels import CHARACTER
from tokbench.report.page.model import Entry, Group
from tokbench.report.plots.data import QUANTILES
from tokbench.report.table import EXACT, Column, infinite_word
from tokbench.report.training import TRAINED_MARK, TRAINED_NOTE
from tokbench.report.words import counted

WIDTH, LEFT, RIGHT = 420, 10, 410
ROW, TEXT, HILL, BASE, STRIP = 52, 12, 20, 38, 45
"""Height of a row and, from top to bottom, where its text stands, the hill's height, where the hill stands, and the middle of the
strip of quantiles: nothing lies on anything else."""

BINS = 64


@dataclass(frozen=True)
class SpreadRow:
    """One tokenizer's images.

    Args:
        entry: The record.
        hill: Path of the histogram.
        quartiles: Pixels of the first quartile, the median and the third.
        ends: Pixels of the 5th and 95th percentile.
        tip: Lines for the reader who points at it.
        label: The tokenizer, cut to the room beside the median.
        text: The median, in figures.
    """

    entry: Entry
    hill: str
    quartiles: tuple[float, float, float]
    ends: tuple[float, float]
    tip: str
    label: str
    text: str


@dataclass(frozen=True)
class Spread:
    """All tokenizers' images under one metric.

    Args:
        title: Title of the metric.
        ticks: Ticks of the shared axis.
        rows: One a tokenizer with finite values.
        left_out: Names without, and why.
    """

    title: str
    ticks: tuple[Tick, ...]
    rows: tuple[SpreadRow, ...]
    left_out: tuple[str, ...]


def spreads(group: Group) -> list[Spread]:
    """One plot for every metric that has per-image values."""
    return [spread for column in group.row_columns if (spread := _spread(group, column))]


def _spread(group: Group, column: Column) -> Spread | None:
    values: list[tuple[Entry, np.ndarray, str]] = []
    left_out = []
    for entry in group.entries:
        every = np.array(list(entry.rows.get(column.key, {}).values()), dtype=np.float64) * column.scale
        finite = every[np.isfinite(every)]
        if len(finite):
            more = len(every) - len(finite)
            values.append((entry, finite, f", {more} more {_endless(every, column)}" if more else ""))
        elif len(every):
            left_out.append(f"{entry.label}: {counted(len(every), 'image')}, all {_endless(every, column)}")
    scale = fit_scale((float(end) for _, finite, _ in values for end in (finite.min(), finite.max())), LEFT, RIGHT)
    if scale is None:
        return None
    edges = np.linspace(scale.low, scale.high, BINS + 1)
    rows = []
    for entry, finite, more_of_them in values:
        five, first, middle, third, rest = (float(q) for q in np.quantile(finite, QUANTILES))
        digits = column.digits
        tip = [
            entry.label,
            f"median {middle:.{digits}f}, quartiles {first:.{digits}f} and {third:.{digits}f}",
            f"5 % below {five:.{digits}f}, 5 % above {rest:.{digits}f}",
            counted(len(finite), "image") + more_of_them,
            *[TRAINED_NOTE] * bool(entry.record.trained_on),
        ]
        quartiles = (scale(first), scale(middle), scale(third))
        hill = _hill(np.histogram(finite, edges)[0], scale(scale.low), scale(scale.high))
        text = f"{middle:.{digits}f}" if abs(middle) < 1e7 else short(middle)
        text += TRAINED_MARK * bool(entry.record.trained_on)
        label = _cut(entry.label, int((RIGHT - LEFT) / CHARACTER) - len(text) - 2)
        rows.append(SpreadRow(entry, hill, quartiles, (scale(five), scale(rest)), "\n".join(tip), label, text))
    title = f"{column.title} {column.arrow}".strip()
    return Spread(title, tuple(scale.ticks(5)), tuple(rows), tuple(left_out))


def _cut(label: str, most: int) -> str:
    return label if len(label) <= most else label[: most - 1] + "…"


def _endless(values: np.ndarray, column: Column) -> str:
    """What the values that no axis holds are called: exact, as in the tables, or infinite."""
    words = {infinite_word(float(value), column.higher_is_better) for value in values[np.isinf(values)]}
    return EXACT if words == {EXACT} else "infinite"


def _hill(counts: np.ndarray, left: float, right: float) -> str:
    top = int(counts.max())
    step = (right - left) / len(counts)
    path, height = f"M{left:g} {BASE}", 0.0
    for i, count in enumerate(counts):
        here = HILL * int(count) / top if top else 0.0
        if not math.isclose(here, height, abs_tol=1e-9):
            path += f"H{left + step * i:.1f}V{BASE - here:.1f}"
            height = here
    return path + f"H{right:g}V{BASE}Z"
