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
from tokbench.report.words import counted

OCTAVES = (-4, -3, -2, -1, 0, 1, 2, 3, 4)
"""Borders of the histogram: powers of two of the even share, one divided by the codebook's size."""

BAR_WIDTH, BARS_WIDTH, BARS_HEIGHT = 17, 250, 112
BARS_LEFT, BARS_TOP, BARS_BASE = 32, 8, 82
"""The frame of a histogram: codes never used stand at its left, the others begin one bar and a gap after them."""

BARS_FIRST = BARS_LEFT + 24


@dataclass(frozen=True)
class RankCurve:
    """One codebook.

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
    curves: tuple[RankCurve, ...]


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
        ticks: Of the axis of shares of the codes, in per cent; the same for all histograms of a group.
    """

    entry: Entry
    summary: str
    never: UsageBar
    bars: tuple[UsageBar, ...]
    ticks: tuple[Tick, ...]


def rank_plot(group: Group) -> RankPlot | None:
    """The rank-frequency curves; None if no record holds any."""
    uses = [(entry, number, use) for entry in group.entries for number, use in enumerate(entry.record.codebooks) if use.is_sound]
    x = fit_scale((float(rank) for _, _, use in uses for rank in (1, use.size)), LEFT, RIGHT, log=True)
    y = fit_scale((share for _, _, use in uses for share in use.shares), BOTTOM, TOP, log=True)
    if x is None or y is None:
        return None
    curves = []
    for entry, number, use in uses:
        points = [f"{x(rank):g} {y(share):g}" for rank, share in zip(use.ranks, use.shares, strict=True)]
        which = f", codebook {number + 1} of {len(entry.record.codebooks)}" if len(entry.record.codebooks) > 1 else ""
        tip = [
            entry.label + which,
            f"{use.used:,} of {use.size:,} codes used by {counted(use.tokens, 'token')}",
            f"the most used takes {use.shares[0]:.2%}, the least used {use.shares[-1]:.2g} of them",
        ]
        curves.append(RankCurve(entry, "M" + "L".join(points) + ("h1" if len(points) == 1 else ""), "\n".join(tip)))
    return RankPlot(tuple(x.ticks()), tuple(y.ticks()), tuple(curves))


def usage_histograms(group: Group) -> list[UsageBars]:
    """A histogram for every record that holds curves, all on one scale."""
    found = [(entry, uses, _counts(uses)) for entry in group.entries if (uses := [u for u in entry.record.codebooks if u.is_sound])]
    if not found:
        return []
    top = max(count / sum(counts) for _, _, counts in found for count in counts)
    scale = Scale(0, 100 * top, False, BARS_BASE, BARS_TOP)
    return [_bars(entry, uses, counts, scale) for entry, uses, counts in found]


def _counts(uses: Sequence[CodebookUse]) -> list[float]:
    """How many codes never occur, and how many lie between the borders, rare to frequent."""
    counts = [0.0] * (len(OCTAVES) + 1)
    for use in uses:
        above = [_codes_above(use, 2.0**octave / use.size) for octave in OCTAVES]
        for i, (more, less) in enumerate(zip([float(use.ranks[-1]), *above], [*above, 0.0], strict=True)):
            counts[i] += more - less
    return [max(0.0, sum(use.size for use in uses) - sum(counts)), *counts]


def _bars(entry: Entry, uses: Sequence[CodebookUse], counts: Sequence[float], scale: Scale) -> UsageBars:
    codes = sum(use.size for use in uses)
    places = [BARS_LEFT, *(BARS_FIRST + BAR_WIDTH * i for i in range(len(OCTAVES) + 1))]
    never, *bars = (
        _bar(x, 100 * count / codes, words, scale) for x, count, words in zip(places, counts, ("never used", *_words()), strict=True)
    )
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


def _codes_above(use: CodebookUse, threshold: float) -> float:
    """How many codes have at least a share, read off the curve between its points (straight in logarithms)."""
    points: Sequence[tuple[int, float]] = list(zip(use.ranks, use.shares, strict=True))
    if points[0][1] < threshold:
        return 0.0
    for (rank, share), (later, less) in itertools.pairwise(points):
        if less < threshold <= share:
            if later == rank + 1 or share == less:
                return float(rank)
            part = (math.log(share) - math.log(threshold)) / (math.log(share) - math.log(less))
            return math.exp(math.log(rank) + part * (math.log(later) - math.log(rank)))
    return float(points[-1][0])
