"""What the plots of runs show: each kind as the panels that records have the data for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

from tokbench.records.figures import FIGURES
from tokbench.records.record import Record
from tokbench.records.store import Rows
from tokbench.report.plots.codebooks import rank_curves, use_histograms
from tokbench.report.plots.data import NOTE_NAME, Axis, Distribution, Scatter, measured_otherwise, metric_axis, quality
from tokbench.report.plots.images import distributions
from tokbench.report.plots.panels import (
    EQUAL_USE,
    FRONT,
    HOLLOW,
    NAME_LIMIT,
    TRAINED,
    UNLIKE,
    draw_boxes,
    draw_histogram,
    draw_ranks,
    draw_scatter,
)
from tokbench.report.plots.paper import Paper, codec_label, fitted
from tokbench.report.plots.scatters import rate_scatter, speed_scatter
from tokbench.report.plots.sheets import Panel
from tokbench.report.table import Column, figure_column, metric_columns
from tokbench.report.words import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def rate_panels(records: Sequence[Record], rows: Sequence[Rows], paper: Paper, *, together: bool) -> list[Panel]:
    """Bits a pixel against quality."""
    return _scatter_panels(records, paper, lambda column: rate_scatter(records, paper.names, column))


def encode_panels(records: Sequence[Record], rows: Sequence[Rows], paper: Paper, *, together: bool) -> list[Panel]:
    """Speed of encoding against quality."""
    return _scatter_panels(records, paper, lambda column: speed_scatter(records, paper.names, column, direction="encode"))


def decode_panels(records: Sequence[Record], rows: Sequence[Rows], paper: Paper, *, together: bool) -> list[Panel]:
    """Speed of decoding against quality."""
    return _scatter_panels(records, paper, lambda column: speed_scatter(records, paper.names, column, direction="decode"))


def codebook_panels(records: Sequence[Record], rows: Sequence[Rows], paper: Paper, *, together: bool) -> list[Panel]:
    """How codes are used."""
    curves, histograms = rank_curves(records, paper.names), use_histograms(records, paper.names)
    if not curves:
        return []
    labels = (EQUAL_USE, *(curve.name for curve in curves))
    return [
        Panel("ranks", lambda axes, first: draw_ranks(axes, curves, paper), labels),
        Panel("histogram", lambda axes, first: draw_histogram(axes, histograms, paper), labels[1:]),
    ]


def _scatter_panels(records: Sequence[Record], paper: Paper, scatter: Callable[[Column], Scatter]) -> list[Panel]:
    panels = []
    for column in quality(metric_columns(records)):
        data = scatter(column)
        if data.points:
            names = dict.fromkeys(point.name if point.codec is None else codec_label(point.codec) for point in data.points)
            labels = (*([FRONT] if len(data.front) > 1 else []), *names)
            labels += (HOLLOW,) * any(point.judged for point in data.points) + (UNLIKE,) * bool(data.note)
            labels += (TRAINED,) * any(point.trained for point in data.points)
            panels.append(Panel(column.key, partial(_points, data=data, paper=paper), labels, data.left_out, note=data.note))
    return panels


def image_panels(records: Sequence[Record], rows: Sequence[Rows], paper: Paper, *, together: bool) -> list[Panel]:
    """Values of single images; panels that stand together have the names of all."""
    found = [(column, boxes) for column in _image_columns(records, rows) if (boxes := distributions(rows, paper.names, column))]
    panels = []
    for column, boxes in found:
        shown = {box.name for group in ([others for _, others in found] if together else [boxes]) for box in group}
        names = [name for name in paper.names if name in shown]
        broken = [
            name for name, row in zip(paper.names, rows, strict=True) if column.key in row and name not in {box.name for box in boxes}
        ]
        drawn = {box.name for box in boxes}
        unlike, note = measured_otherwise([record for name, record in zip(paper.names, records, strict=True) if name in drawn], column)
        marked = [box.name for box, other in zip(boxes, unlike, strict=True) if other]
        trained = [name for name, record in zip(paper.names, records, strict=True) if name in drawn and record.trained_on]
        draw = partial(_boxes, boxes=boxes, names=names, axis=metric_axis(column), paper=paper, unlike=marked, trained=trained)
        left_out = tuple(f"{shortened(name, NOTE_NAME)}: not a number" for name in broken)
        labels = (UNLIKE,) * bool(note) + (TRAINED,) * bool(trained)
        panels.append(Panel(column.key, draw, labels, left_out, _height(names), note))
    return panels


def _image_columns(records: Sequence[Record], rows: Sequence[Rows]) -> list[Column]:
    """The figures that rows have values of, and that are better in one direction, in the order of tables."""
    present = {key for row in rows for key in row}
    known = [info.key for info in FIGURES if info.key in present]
    columns = [figure_column(key, [record.metrics.get(key) for record in records]) for key in (*known, *sorted(present.difference(known)))]
    return [column for column in columns if column.info is not None and column.info.per_image and column.arrow]


def _height(names: Sequence[str]) -> float:
    """Inches for rows with names of one or two lines."""
    return 0.5 + len(names) * max(0.22, 0.08 + 0.14 * max(name.count("\n") + 1 for name in fitted(names, NAME_LIMIT)))


def _points(axes: Axes, first: bool, *, data: Scatter, paper: Paper) -> None:
    draw_scatter(axes, data, paper)


def _boxes(
    axes: Axes,
    first: bool,
    *,
    boxes: Sequence[Distribution],
    names: Sequence[str],
    axis: Axis,
    paper: Paper,
    unlike: Collection[str],
    trained: Collection[str],
) -> None:
    draw_boxes(axes, boxes, names, axis, paper, named=first, unlike=unlike, trained=trained)
