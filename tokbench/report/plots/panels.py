"""One panel of a plot each: points over two axes, rank-frequency curves, histograms of use, boxes of per-image values, speeds."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Literal

from tokbench.report.comparable import SETTINGS_MARK
from tokbench.report.plots.data import Axis, Distribution, RankCurve, Scatter, UseHistogram, beyond_word
from tokbench.report.plots.paper import DASHES, GREY, PALE, WIDTHS, Paper, codec_label, fitted, panel_height, verbatim
from tokbench.report.plots.speeds import BATCH, SpeedPlot
from tokbench.report.plots.strips import Span, vertical_span
from tokbench.report.plots.ticks import even_steps, labels_fit, log_ticks, plain
from tokbench.report.table import HUGE
from tokbench.report.training import TRAINED_MARK
from tokbench.report.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis

RANK, SHARE = Axis("rank of the code", True, None), Axis("share of tokens", True, None)
USE, CODES = Axis("use of a code / equal use", True, None), Axis("codes %", False, None)

FRONT, EQUAL_USE, HOLLOW = "Pareto front", "equal use", "hollow: trained with the judge"
UNLIKE, TRAINED = "measured otherwise than most", "trained on these images"
"""Entries of the legend beside the records."""

STRIP_ROOM = 0.28
"""Inches from an end of the axis to the first tick beyond the label of a strip."""

NAME_LIMIT = 26
"""Characters a line of a name beside its box."""


def draw_scatter(axes: Axes, data: Scatter, paper: Paper) -> None:
    """Points with intervals, hollow where the judge trained. The Pareto front is dashed steps, and one codec's anchors are joined by
    dots. Marks stand beside those that were measured with other settings than most, or on images the tokenizer was trained on.

    Figures that have no place on the axis stand in a grey strip at its end, whose label is what they are.
    """
    _scale(axes, data.x, data.y)
    span = vertical_span(data)
    axes.set_ylim(*span.ends)
    for strip in span.strips:
        axes.axhspan(strip.low, strip.high, color=PALE, linewidth=0, zorder=0)
    if len(data.front) > 1:
        where: Literal["post", "pre"] = "pre" if data.x.higher_is_better else "post"
        line = [[point.x for point in data.front], [span.place(point) for point in data.front]]
        axes.step(*line, where=where, color=GREY, linestyle=(0, (3, 2)), linewidth=0.8, label=FRONT, zorder=1)
    for codec in dict.fromkeys(point.codec for point in data.points if point.codec):
        rates = sorted((point.x, span.place(point), point.name) for point in data.points if point.codec == codec)
        joined: Any = {"linewidth": 0.6, "linestyle": ":"} if len(rates) > 1 else {"linestyle": "none"}
        axes.plot([x for x, _, _ in rates], [y for _, y, _ in rates], color="black", zorder=1, **joined)
        axes.plot(
            [],
            [],
            label=codec_label(codec),
            markersize=5.5,
            markeredgecolor="white",
            markeredgewidth=0.4,
            **paper.look(rates[0][2]),
            **joined,
        )
    for point in data.points:
        look, height = paper.look(point.name), span.place(point)
        if point.interval:
            axes.vlines(point.x, *point.interval, color=look["color"], linewidth=0.6, alpha=0.7, zorder=2)
        if point.x_interval:
            axes.hlines(height, *point.x_interval, color=look["color"], linewidth=0.6, alpha=0.7, zorder=2)
        faces: dict[str, Any] = (
            {"markerfacecolor": "white", "markeredgewidth": 1.0} if point.judged else {"markeredgecolor": "white", "markeredgewidth": 0.4}
        )
        label = point.name if point.codec is None else None
        axes.plot([point.x], [height], label=label, linestyle="none", markersize=5.5, zorder=3, **look, **faces)
        if point.signs:
            _sign(axes, point.signs, point.x, height, look["color"])
    if any(point.judged for point in data.points):
        axes.plot([], [], label=HOLLOW, linestyle="none", marker="o", markersize=5.5, color=GREY, markerfacecolor="white")
    if data.note:
        _explain_unlike(axes)
    if any(point.trained for point in data.points):
        _explain_trained(axes)
    places = {point.x for point in data.points}
    if len(places) == 1 and data.x.log:
        axes.set_xlim(min(places) / 2, min(places) * 2)
    _ticks(axes, data.x, data.y, span)


def draw_ranks(axes: Axes, curves: Sequence[RankCurve], paper: Paper) -> None:
    """Share of all tokens by rank, one line a codebook; dots where all codes of a codebook would be used the same."""
    _scale(axes, RANK, SHARE)
    named: set[str] = set()
    for curve in curves:
        axes.plot(curve.use.ranks, curve.use.shares, label=None if curve.name in named else curve.name, **paper.dashes(curve.name))
        axes.plot(curve.use.ranks[-1:], curve.use.shares[-1:], markersize=4, **paper.look(curve.name))
        named.add(curve.name)
    for i, size in enumerate(sorted({curve.use.size for curve in curves})):
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


def draw_boxes(
    axes: Axes,
    found: Sequence[Distribution],
    names: Sequence[str],
    axis: Axis,
    paper: Paper,
    *,
    named: bool = True,
    unlike: Collection[str] = (),
    trained: Collection[str] = (),
) -> None:
    """One row a record: a line from 5 to 95 % of the images, a box from 25 to 75 %, a bar at the median, a ring at the mean.

    Where values are infinite, or beyond what an axis can hold, words say of how many images. Names in ``unlike``, measured with other
    settings than most, have a mark, and so have those in ``trained``, of tokenizers that were trained on the images.
    """
    for one in found:
        i = names.index(one.name)
        colour = paper.look(one.name)["color"]
        signs = SETTINGS_MARK * (one.name in unlike) + TRAINED_MARK * (one.name in trained)
        mark = f"{signs} " if signs else ""
        if one.beyond:
            of = "all images" if one.beyond == one.count else f"{one.beyond:,} of {counted(one.count, 'image')}"
            word = beyond_word([one.lowest if one.lowest < -HUGE else one.highest], axis.higher_is_better)
            axes.text(0.98, i, f"{mark}{word} for {of}", color=colour, ha="right", va="center", transform=axes.get_yaxis_transform())
            continue
        low, first, middle, third, high = one.quantiles
        axes.hlines(i, low, high, color=colour, linewidth=0.8)
        axes.barh(i, third - first, left=first, height=0.55, color=colour, alpha=0.35, linewidth=0)
        axes.vlines(middle, i - 0.3, i + 0.3, color=colour, linewidth=1.6)
        axes.plot([one.mean], [i], marker="o", markersize=3, markerfacecolor="white", color=colour, clip_on=False)
        if signs:
            _sign(axes, signs, high, i, colour)
    if unlike:
        _explain_unlike(axes)
    if trained:
        _explain_trained(axes)
    axes.use_sticky_edges = False  # values at an end of the scale keep their distance from the frame
    axes.set_yticks(range(len(names)), fitted(names, NAME_LIMIT) if named else [""] * len(names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(verbatim(axis.label))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def draw_speeds(axes: Axes, data: SpeedPlot, paper: Paper) -> None:
    """A line a tokenizer over the batch, dashed and hollow where it was compiled, with the intervals of its points."""
    _scale(axes, BATCH, data.axis)
    for line in data.lines:
        look, warm = paper.look(line.name), line.label == line.name
        faces: dict[str, Any] = {} if warm else {"markerfacecolor": "white"}
        batches, values = [point.batch for point in line.points], [point.value for point in line.points]
        axes.plot(batches, values, label=line.label, markersize=4, linestyle=DASHES[0] if warm else DASHES[1], **look, **faces)
        for point in line.points:
            if point.interval:
                axes.vlines(point.batch, *point.interval, color=look["color"], linewidth=0.6, alpha=0.7)
    low, high = data.batches[0], data.batches[-1]
    axes.set_xlim(low / 1.4, high * 1.4)
    axes.set_title(verbatim(data.title), loc="left")
    _ticks(axes, BATCH, data.axis)
    places = [math.log(batch * 1.4 / low) / math.log(high / low * 1.96) * _room(axes)[0] for batch in data.batches]
    labels = [str(batch) for batch in data.batches]
    if labels_fit(places, labels):
        _fix(axes.xaxis, data.batches, labels)


def _sign(axes: Axes, signs: str, x: float, y: float, colour: str) -> None:
    """Marks beside what stands here."""
    axes.annotate(signs, (x, y), xytext=(4, 0), textcoords="offset points", va="center", color=colour)


def _explain_unlike(axes: Axes) -> None:
    """What the mark means, for the legend."""
    axes.plot([], [], label=UNLIKE, linestyle="none", marker=r"$\neq$", markersize=7, markeredgewidth=0, color=GREY)


def _explain_trained(axes: Axes) -> None:
    axes.plot([], [], label=TRAINED, linestyle="none", marker=r"$\S$", markersize=7, markeredgewidth=0, color=GREY)


def _scale(axes: Axes, x: Axis, y: Axis) -> None:
    axes.set_xscale("log" if x.log else "linear")
    axes.set_yscale("log" if y.log else "linear")
    axes.set_xlabel(verbatim(x.label_across))
    axes.set_ylabel(verbatim(y.label))


def _ticks(axes: Axes, x: Axis, y: Axis, span: Span | None = None) -> None:
    """Plain numbers on logarithmic axes, and the words of strips."""
    across, up = _room(axes)
    if x.log:
        ticks = log_ticks(*axes.get_xlim(), across)
        _fix(axes.xaxis, ticks, [plain(tick) for tick in ticks])
    strips = span.strips if span else []
    if y.log or strips:
        bottom, top = axes.get_ylim()
        first, last = (
            (0.0 if span is None or span.below is None else STRIP_ROOM),
            (up if span is None or span.above is None else up - STRIP_ROOM),
        )
        low, high = (_value(bottom, top, inches / up, log=y.log) for inches in (first, last))
        ticks = log_ticks(low, high, last - first, upright=True) if y.log else even_steps(low, high, 4)
        _fix(axes.yaxis, [*ticks, *(strip.at for strip in strips)], [*map(plain, ticks), *(strip.label for strip in strips)])


def _room(axes: Axes) -> tuple[float, float]:
    """Inches of the axes across and up, about as the layout will make them."""
    figure, spec = axes.get_figure(), axes.get_subplotspec()
    width = figure.bbox.width / figure.dpi if figure is not None else WIDTHS["column"]
    panel = width / (spec.get_gridspec().ncols if spec is not None else 1)
    return panel - 0.65, panel_height(panel)


def _value(low: float, high: float, share: float, *, log: bool) -> float:
    """What stands at a share of an axis."""
    return float(low * (high / low) ** share) if log else low + (high - low) * share


def _fix(axis: XAxis | YAxis, places: Sequence[float], labels: Sequence[str]) -> None:
    """Ticks here and nowhere else."""
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

    axis.set_major_locator(FixedLocator(list(places)))
    axis.set_ticklabels(list(labels))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _power_ticks(axes: Axes, low: float, high: float, *, never: float | None) -> None:
    """Powers of two on the horizontal axis, as many as have room, one always among them; left of them the place of what never occurs."""
    powers = range(round(math.log2(low)), round(math.log2(high)) + 1)
    start, inches = math.log2(never / 2 if never else low), _room(axes)[0]
    for step in range(1, len(powers) + 1):
        chosen = [power for power in powers if power % step == 0 and not (never and power == powers[0])]
        labels = [f"{2**power}" if power >= 0 else f"1/{2**-power}" for power in chosen]
        places = [float(power) for power in chosen]
        if never is not None:
            places, labels = [math.log2(never), *places], ["never", *labels]
        if labels_fit([(place - start) / (powers[-1] - start) * inches for place in places], labels):
            break
    _fix(axes.xaxis, [2.0**place for place in places], labels)
