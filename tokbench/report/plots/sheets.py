"""Plots of records at paper size: chosen, laid out in panels, and written as files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tokbench.errors import TokbenchError, unknown_name
from tokbench.plugins import import_class
from tokbench.records.protocol import without_rounding
from tokbench.records.record import Record
from tokbench.records.store import Rows
from tokbench.report.plots.kinds import RUN_KINDS
from tokbench.report.plots.panels import EQUAL_USE, FRONT, HOLLOW, TRAINED, UNLIKE
from tokbench.report.plots.paper import (
    FORMATS,
    WIDTHS,
    Paper,
    add_legend,
    legend_size,
    panel_height,
    paper_style,
    save_figure,
)
from tokbench.report.sections import make_sections

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = 3
"""Panels in a row at the width of a page."""


@dataclass(frozen=True)
class Plot:
    """One drawn figure.

    Args:
        name: Name of its files, without suffix.
        figure: matplotlib's.
        left_out: What it does not show, and why.
        notes: Which of its figures do not compare, and why.
    """

    name: str
    figure: Figure
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Written:
    """The files of a set of plots, and a line for every plot that does not show everything, or shows what does not compare."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Panel:
    """One panel: its name, what draws it, entries of the legend, what it leaves out, its height in inches, and a note."""

    name: str
    draw: Callable[[Axes, bool], None]
    """Into which axes, and whether they are the first of a row."""
    labels: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    height: float | None = None
    note: str = ""


def write_plots(
    records: Sequence[Record],
    rows: Sequence[Rows],
    folder: Path,
    *,
    kinds: Sequence[str] = tuple(RUN_KINDS),
    formats: Sequence[str] = FORMATS,
    width: str = "column",
) -> Written:
    """Draw everything that records have the data for.

    Args:
        records: Those of different protocols or data are drawn apart, in folders of their own.
        rows: The per-image values of each.
        folder: Made if missing; files of the same name are replaced.
        kinds: Some of ``RUN_KINDS``.
        formats: Some of ``FORMATS``.
        width: ``column``, every panel a file of its own, or ``page``, the panels of one kind side by side.

    Raises:
        TokbenchError: If a kind, format or width is unknown, matplotlib is not installed, the folder cannot be written, or
            there is nothing to draw.
        ValueError: If records and rows are not equally many.
    """
    for what, given, known in (("kind of plot", kinds, tuple(RUN_KINDS)), ("format", formats, FORMATS), ("width", [width], tuple(WIDTHS))):
        for name in given:
            if name not in known:
                raise unknown_name(what, name, known)
    paths, notes = [], []
    sections = make_sections(records)
    for number, section in enumerate(sections, start=1):
        label = re.sub(r"[^A-Za-z0-9.+=_-]+", "-", without_rounding(records[section.members[0]].protocol_label))[:80]
        place = folder / f"{number}-{label}" if len(sections) > 1 else folder
        members = [records[i] for i in section.members]
        for plot in draw_plots(members, [rows[i] for i in section.members], section.names, kinds=kinds, width=width):
            for form in formats:
                paths.append(place / f"{plot.name}.{form}")
                save_figure(plot.figure, paths[-1], form)
            if plot.left_out:
                notes.append(f"{plot.name} leaves out {'; '.join(plot.left_out)}")
            notes += [f"{plot.name}: {note}" for note in plot.notes]
    if not paths:
        raise TokbenchError(f"the records hold nothing to draw for {', '.join(kinds)}; measure more metrics, or choose another --kind")
    return Written(tuple(paths), tuple(notes))


def draw_plots(
    records: Sequence[Record], rows: Sequence[Rows], names: Sequence[str], *, kinds: Sequence[str] = tuple(RUN_KINDS), width: str = "column"
) -> Iterator[Plot]:
    """Draw the plots of one protocol and data set.

    Args:
        records: To be compared.
        rows: The per-image values of each.
        names: Names of the records' rows.
        kinds: Some of ``RUN_KINDS``.
        width: ``column`` or ``page``.

    Yields:
        One plot after the other; those without data are left out.

    Raises:
        TokbenchError: If matplotlib is not installed.
        ValueError: If records, rows and names are not equally many.
    """
    if not len(records) == len(rows) == len(names):
        raise ValueError(f"{len(records)} records, {len(rows)} sets of rows and {len(names)} names")
    paper = Paper(tuple(names), tuple(record.tokenizer.codec for record in records))
    for kind in kinds:
        panels: list[Panel] = import_class(RUN_KINDS[kind])(records, rows, paper, together=width == "page")
        if width == "page" and panels:
            left_out = tuple(f"{panel.name}: {line}" for panel in panels for line in panel.left_out)
            yield Plot(
                kind, drawn_panels(panels, names, WIDTHS[width], ACROSS), left_out, tuple(panel.note for panel in panels if panel.note)
            )
        elif width == "column":
            for panel in panels:
                yield Plot(
                    f"{kind}-{panel.name}",
                    drawn_panels([panel], names, WIDTHS[width], 1),
                    panel.left_out,
                    (panel.note,) if panel.note else (),
                )


def drawn_panels(panels: Sequence[Panel], names: Sequence[str], width: float, across: int) -> Figure:
    """Lay panels out.

    Args:
        panels: At least one.
        names: Names in the order that the legend shall have.
        width: Inches of all of it.
        across: Panels in a row at most.

    Returns:
        A figure with one legend for all panels.
    """
    found = dict.fromkeys(label for panel in panels for label in panel.labels)
    last = [label for label in (EQUAL_USE, HOLLOW, UNLIKE, TRAINED) if label in found]
    labels = [label for label in (FRONT, *names) if label in found]
    labels += [label for label in found if label not in (*labels, *last)] + last
    with paper_style():
        from matplotlib.figure import Figure

        columns = min(across, len(panels))
        lines = -(-len(panels) // columns)
        height = panels[0].height or 0.45 + panel_height(width / columns)
        figure = Figure(figsize=(width, lines * height + legend_size(labels, width)[1]), layout="constrained")
        axes = [figure.add_subplot(lines, columns, i + 1) for i in range(len(panels))]
        for i, (panel, place) in enumerate(zip(panels, axes, strict=True)):
            panel.draw(place, i % columns == 0)
        add_legend(figure, axes, labels, width)
        return figure
