"""One panel of a plot each: points over two axes, rank-frequency curves, histograms of use, boxes of per-image values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from tokbench.report.codebook_plots import RankCurve, UseHistogram
from tokbench.report.paper import GREY, Paper, wrapped
from tokbench.report.plots import Axis, Distribution, Scatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RANK, SHARE = Axis("rank of the code", True, None), Axis("share of tokens", True, None)
USE, CODES = Axis("use of a code / equal use", True, None), Axis("codes %", False, None)

FRONT, EQUAL_USE, HOLLOW = "Pareto front", "equal use", "hollow: trained with the judge"
"""Entries of the legend beside the records."""

NAME_LIMIT = 26
"""Characters a line of a name beside its box."""


def draw_scatter(axes: Axes, data: Scatter, paper: Paper) -> None:
    """Points with intervals; the Pareto front as dashed steps, one codec's anchors joined by dots, hollow where the judge trained."""
    _scale(axes, data.x, data.y)
    if len(data.front) > 1:
        where: Literal["post", "pre"] = "pre" if data.x.higher_is_better else "post"
        line = [[point.x for point in data.front], [point.y for point in data.front]]
        axes.step(*line, where=where, color=GREY, linestyle=(0, (3, 2)), linewidth=0.8, label=FRONT, zorder=1)
    for codec in dict.fromkeys(point.codec for point in data.points if point.codec):
        rates = sorted((point.x, point.y) for point in data.points if point.codec == codec)
        if len(rates) > 1:
            axes.plot(*zip(*rates, strict=True), color="black", linewidth=0.6, linestyle=":", zorder=1)
    for point in data.points:
        look = paper.look(point.name)
        if point.interval:
            axes.vlines(point.x, *point.interval, color=look["color"], linewidth=0.6, alpha=0.7, zorder=2)
        if point.x_interval:
            axes.hlines(point.y, *point.x_interval, color=look["color"], linewidth=0.6, alpha=0.7, zorder=2)
        faces: dict[str, Any] = (
            {"markerfacecolor": "white", "markeredgewidth": 1.0} if point.judged else {"markeredgecolor": "white", "markeredgewidth": 0.4}
        )
        axes.plot([point.x], [point.y], label=point.name, linestyle="none", markersize=5.5, zorder=3, **look, **faces)
    if any(point.judged for point in data.points):
        axes.plot([], [], label=HOLLOW, linestyle="none", marker="o", markersize=5.5, color=GREY, markerfacecolor="white")
    places = {point.x for point in data.points}
    if len(places) == 1 and data.x.log:
        axes.set_xlim(min(places) / 2, min(places) * 2)
    _ticks(axes, data.x, data.y)


def draw_ranks(axes: Axes, curves: Sequence[RankCurve], paper: Paper) -> None:
    """Share of all tokens by rank, one line a codebook; dots where all codes of a codebook would be used the same."""
    _scale(axes, RANK, SHARE)
    named: set[str] = set()
    for curve in curves:
        axes.plot(curve.ranks, curve.shares, label=None if curve.name in named else curve.name, **paper.dashes(curve.name))
        axes.plot(curve.ranks[-1:], curve.shares[-1:], markersize=4, **paper.look(curve.name))
        named.add(curve.name)
    for i, size in enumerate(sorted({curve.size for curve in curves})):
        axes.plot([1, size], [1 / size] * 2, color=GREY, linewidth=0.6, linestyle=":", zorder=1, label=None if i else EQUAL_USE)
    _ticks(axes, RANK, SHARE)


def draw_histogram(axes: Axes, histograms: Sequence[UseHistogram], paper: Paper) -> None:
    """Share of the codes by their use, in bins of powers of two, with a marker for those that never occur."""
    _scale(axes, USE, CODES)
    low, high = min(one.edges[0] for one in histograms), max(one.edges[-1] for one in histograms)
    for one in histograms:
        axes.stairs([100 * share for share in one.shares], one.edges, label=one.name, **paper.dashes(one.name))
        if one.dead:
            axes.plot([low / 4], [100 * one.dead], linestyle="none", markersize=4, **paper.look(one.name))
    axes.set_ylim(bottom=0)
    dead = any(one.dead for one in histograms)
    _power_ticks(axes, low, high, never=low / 4 if dead else None)
    axes.set_xlim(low / 8 if dead else low, high)


def draw_boxes(axes: Axes, found: Sequence[Distribution], names: Sequence[str], axis: Axis, paper: Paper, *, named: bool = True) -> None:
    """One row a record: a line from 5 to 95 % of the images, a box from 25 to 75 %, a bar at the median, a ring at the mean."""
    for one in found:
        i = names.index(one.name)
        low, first, middle, third, high = one.quantiles
        colour = paper.look(one.name)["color"]
        axes.hlines(i, low, high, color=colour, linewidth=0.8)
        axes.barh(i, third - first, left=first, height=0.55, color=colour, alpha=0.35, linewidth=0)
        axes.vlines(middle, i - 0.3, i + 0.3, color=colour, linewidth=1.6)
        axes.plot([one.mean], [i], marker="o", markersize=3, markerfacecolor="white", color=colour, clip_on=False)
    axes.use_sticky_edges = False  # values at an end of the scale keep their distance from the frame
    axes.set_yticks(range(len(names)), [wrapped(name, NAME_LIMIT) for name in names] if named else [""] * len(names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(axis.label)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _scale(axes: Axes, x: Axis, y: Axis) -> None:
    axes.set_xscale("log" if x.log else "linear")
    axes.set_yscale("log" if y.log else "linear")
    axes.set_xlabel(x.label)
    axes.set_ylabel(y.label)


def _ticks(axes: Axes, x: Axis, y: Axis) -> None:
    """Plain numbers on logarithmic axes, at 1, 2 and 5 where they span little, else at powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    for axis, log, ends in ((axes.xaxis, x.log, axes.get_xlim()), (axes.yaxis, y.log, axes.get_ylim())):
        if log:
            few = abs(math.log10(ends[1]) - math.log10(ends[0])) < 2.2
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=12))
            axis.set_major_formatter(FuncFormatter(_plain))
            axis.set_minor_locator(NullLocator())
            axis.set_minor_formatter(NullFormatter())


def _plain(value: float, position: int | None = None) -> str:
    return f"{value:g}" if 1e-4 <= value < 1e6 else f"{value:.0e}"


def _power_ticks(axes: Axes, low: float, high: float, *, never: float | None) -> None:
    """Powers of two on the horizontal axis, at most seven, one always among them; left of them the place of what never occurs."""
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

    powers = range(round(math.log2(low)), round(math.log2(high)) + 1)
    step = -(-len(powers) // 7)
    chosen = [power for power in powers if power % step == 0 and not (never and power == powers[0])]
    labels = [f"{2**power}" if power >= 0 else f"1/{2**-power}" for power in chosen]
    places: list[Any] = [2.0**power for power in chosen]
    if never is not None:
        places, labels = [never, *places], ["never", *labels]
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_ticklabels(labels)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
