"""How learnable tokens are, as plots: bits under the probe while it trains, and along the sequence; drawn by a template."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from tokbench.records.probe_record import ProbeRecord
from tokbench.report.page.axes import Tick, fit_scale
from tokbench.report.page.looks import looks_of
from tokbench.report.page.model import Group, clipped
from tokbench.report.page.scatter import BOTTOM, LEFT, RIGHT, TOP
from tokbench.report.probe import probe_sections
from tokbench.report.training import trained_mark

STRETCHES = 32
"""Parts of the sequence at most that a curve along it has."""


@dataclass(frozen=True)
class Curve:
    """One probe.

    Args:
        name: Name of its row.
        colour: Number of its colour.
        dash: Number of its dashes.
        path: Through its points.
        tip: Lines for the reader who points at it.
    """

    name: str
    colour: int
    dash: int
    path: str
    tip: str


@dataclass(frozen=True)
class CurvePlot:
    """Curves over one axis.

    Args:
        title: What it shows.
        x_label: Below it.
        x: Ticks.
        y: Ticks.
        curves: What is compared.
        y_label: Beside it. Bits of probes are in per cent of what uniform codes take, so that vocabularies compare.
    """

    title: str
    x_label: str
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    curves: tuple[Curve, ...]
    y_label: str = "% of the bits of uniform codes"


def learned_plots(records: Sequence[ProbeRecord], groups: Sequence[Group] = ()) -> list[CurvePlot]:
    """Two plots for every budget, protocol, condition and data set that records share; one without a place for a point is left out.

    Args:
        records: Records of probes.
        groups: Groups of the page, whose tokenizers keep their colours.
    """
    plots = []
    for names, members in probe_sections(records):
        where = f", {members[0].protocol.label}" if len(members) < len(records) else ""
        learning = [_while_learning(record) for record in members]
        along = [_along(record) for record in members]
        names = [f"{name}{trained_mark(record.trained_on)}" for name, record in zip(names, members, strict=True)]
        looks = [(look.colour, look.shape) for look, _ in looks_of([record.tokenizer for record in members], groups)]
        plots.append(_plot(f"Bits of held-out tokens while the probe learns{where}", "images seen", names, looks, learning))
        plots.append(_plot(f"Bits along the sequence{where}", "place in the sequence, %", names, looks, along))
    return [plot for plot in plots if plot is not None]


def _while_learning(record: ProbeRecord) -> list[tuple[float, float]]:
    uniform = _uniform_bits(record, record.tokens.tokens_per_image)
    return [(float(point.images_seen), 100 * point.held_out / uniform) for point in record.curve] if uniform else []


def _along(record: ProbeRecord) -> list[tuple[float, float]]:
    count = len(record.by_position)
    uniform = _uniform_bits(record, count)
    ends = [count * i // min(STRETCHES, count) for i in range(min(STRETCHES, count) + 1)] if count else []
    return [
        (50 * (start + stop) / count, 100 * sum(record.by_position[start:stop]) / (stop - start) / uniform)
        for start, stop in itertools.pairwise(ends)
        if uniform
    ]


def _uniform_bits(record: ProbeRecord, parts: int | None) -> float | None:
    figure = record.figures.get("uniform_bits_per_image")
    value = figure.value if figure else None
    return value / parts if value is not None and math.isfinite(value) and value > 0 and parts else None


def _plot(
    title: str, x_label: str, names: Sequence[str], looks: Sequence[tuple[int, int]], curves: Sequence[list[tuple[float, float]]]
) -> CurvePlot | None:
    kept = [[(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)] for points in curves]
    x, y = (
        fit_scale((x for points in kept for x, _ in points), LEFT, RIGHT),
        fit_scale((y for points in kept for _, y in points), BOTTOM, TOP),
    )
    if x is None or y is None:
        return None
    drawn = []
    for name, (colour, dash), points in zip(names, looks, kept, strict=True):
        if points:
            path = "M" + "L".join(f"{x(across):g} {y(up):g}" for across, up in points) + ("h1" if len(points) == 1 else "")
            tip = f"{clipped(name)}\n{points[0][1]:.1f} % of uniform codes at first, {points[-1][1]:.1f} % at last"
            drawn.append(Curve(clipped(name), colour, dash, path, tip))
    return CurvePlot(title, x_label, tuple(x.ticks(5)), tuple(y.ticks(6)), tuple(drawn))
