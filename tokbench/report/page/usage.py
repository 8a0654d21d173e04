"""How evenly codebooks are used: rank-frequency curves, and histograms of codes by how often they occur."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tokbench.records.record import CodebookUse
from tokbench.report.page.axes import Scale, Tick, fit_scale, short
from tokbench.report.page.model import Entry, Group
from tokbench.report.page.scatter import BOTTOM, LEFT, RIGHT, TOP
from tokbench.report.plots.codebooks import count_codes, rank_curves
from tokbench.report.words import counted

OCTAVES = (-4, -3, -2, -1, 0, 1, 2, 3, 4)
"""Borders of the histogram: powers of two of the even share, one divided by the codebook's size."""

BAR_WIDTH, BARS_WIDTH, BARS_HEIGHT = 17, 250, 112
BARS_LEFT, BARS_TOP, BARS_BASE = 32, 8, 82
"""The frame of a histogram: codes never used stand at its left, the others begin one bar and a gap after them."""

BARS_FIRST = BARS_LEFT + 24


@dataclass(frozen=True)
class RankLine:
    """One codebook's curve.

    Args:
        entry: The record.
        path: Through its points.
        tip: Lines for the reader who points at it.
    """

    entry: Entry
    path: str
    tip: str


@dataclass(frozen=True)
class RankPlot:
    """All codebooks of a group: share of all tokens over the rank of the code."""

    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    lines: tuple[RankLine, ...]


@dataclass(frozen=True)
class UsageBar:
    """Codes that are used about equally often.

    Args:
        x: Pixel of the left side.
        y: Pixel of the top.
        height: In pixels.
        tip: Lines for the reader who points at it.
    """

    x: float
    y: float
    height: float
    tip: str


@dataclass(frozen=True)
class UsageBars:
    """One tokenizer's codes by how often they occur, all its codebooks together.

    Args:
        entry: The record.
        summary: Codes, codebooks and tokens in words.
        never: The bar of codes that never occur.
        bars: The others, rare to frequent.
        ticks: Ticks of the axis of shares of the codes, in per cent; the same for all histograms of a group.
    """

    entry: Entry
    summary: str
    never: UsageBar
    bars: tuple[UsageBar, ...]
    ticks: tuple[Tick, ...]


def rank_plot(group: Group) -> RankPlot | None:
    """The rank-frequency curves; None if no record holds any."""
    curves = rank_curves([entry.record for entry in group.entries], [entry.label for entry in group.entries])
    x = fit_scale((float(rank) for curve in curves for rank in (1, curve.use.size)), LEFT, RIGHT, log=True)
    y = fit_scale((share for curve in curves for share in curve.use.shares), BOTTOM, TOP, log=True)
    if x is None or y is None:
        return None
    lines = []
    for curve in curves:
        entry, use = group.entries[curve.record], curve.use
        points = [f"{x(rank):g} {y(share):g}" for rank, share in zip(use.ranks, use.shares, strict=True)]
        which = f", codebook {curve.number + 1} of {len(entry.record.codebooks)}" if len(entry.record.codebooks) > 1 else ""
        tip = [
            curve.name + which,
            f"{use.used:,} of {use.size:,} codes used by {counted(use.tokens, 'token')}",
            f"the most used takes {use.shares[0]:.2%}, the least used {use.shares[-1]:.2g} of them",
        ]
        lines.append(RankLine(entry, "M" + "L".join(points) + ("h1" if len(points) == 1 else ""), "\n".join(tip)))
    return RankPlot(tuple(x.ticks()), tuple(y.ticks()), tuple(lines))


def usage_histograms(group: Group) -> list[UsageBars]:
    """A histogram for every record that holds curves, all on one scale."""
    found = [(entry, uses, _shares(uses)) for entry in group.entries if (uses := [u for u in entry.record.codebooks if u.is_sound])]
    if not found:
        return []
    scale = Scale(0, 100 * max(share for _, _, shares in found for share in shares), False, BARS_BASE, BARS_TOP)
    return [_bars(entry, uses, shares, scale) for entry, uses, shares in found]


def _shares(uses: Sequence[CodebookUse]) -> list[float]:
    """Which share of the codes never occurs, and which lie between the borders, rare to frequent."""
    counts = count_codes(uses, [0.0, *(2.0**octave for octave in OCTAVES), math.inf])
    codes = sum(use.size for use in uses)
    return [share / codes for share in (codes - sum(use.used for use in uses), *counts)]


def _bars(entry: Entry, uses: Sequence[CodebookUse], shares: Sequence[float], scale: Scale) -> UsageBars:
    codes = sum(use.size for use in uses)
    places = [BARS_LEFT, *(BARS_FIRST + BAR_WIDTH * i for i in range(len(OCTAVES) + 1))]
    never, *bars = (_bar(x, 100 * share, words, scale) for x, share, words in zip(places, shares, ("never used", *_words()), strict=True))
    summary = (
        f"{codes:,} codes"
        + (f" in {len(uses)} codebooks" if len(uses) > 1 else "")
        + f", {counted(sum(use.tokens for use in uses), 'token')}"
    )
    return UsageBars(entry, summary, never, tuple(bars), tuple(scale.ticks(4)))


def _bar(x: float, percent: float, words: str, scale: Scale) -> UsageBar:
    y = scale(percent)
    return UsageBar(x, y, round(BARS_BASE - y, 2), f"{percent:.1f}% of the codes\n{words}")


def _words() -> Iterator[str]:
    def times(octave: int) -> str:
        return short(2.0**octave) if octave >= 0 else f"1/{2**-octave}"

    yield f"used less than {times(OCTAVES[0])} of the even share"
    for low, high in itertools.pairwise(OCTAVES):
        yield f"used {times(low)} to {times(high)} times the even share"
    yield f"used more than {times(OCTAVES[-1])} times the even share"
