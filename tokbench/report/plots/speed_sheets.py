"""Plots of speed tests at paper size, written as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tokbench.errors import TokbenchError, unknown_name
from tokbench.plugins import import_class
from tokbench.records.speed_record import SpeedRecord
from tokbench.report.plots.kinds import SPEED_KINDS
from tokbench.report.plots.panels import draw_speeds
from tokbench.report.plots.paper import FORMATS, WIDTHS, Paper, save_figure
from tokbench.report.plots.sheets import Panel, Plot, Written, drawn_panels
from tokbench.report.plots.speeds import SpeedPlot
from tokbench.report.speed import SpeedSection, speed_sections

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS = 2
"""Panels in a row at the width of a page: encoding beside decoding."""


def write_speed_plots(
    records: Sequence[SpeedRecord],
    folder: Path,
    *,
    kinds: Sequence[str] = tuple(SPEED_KINDS),
    formats: Sequence[str] = FORMATS,
    width: str = "column",
) -> Written:
    """Draw what records of speed tests have the figures for.

    Args:
        records: Those of different machines, or of one used otherwise, are drawn apart, in folders of their own.
        folder: Made if missing; files of the same name are replaced.
        kinds: Some of ``SPEED_KINDS``.
        formats: Some of ``FORMATS``.
        width: ``column``, every panel a file of its own, or ``page``, the panels of one kind side by side.

    Raises:
        TokbenchError: If a kind, format or width is unknown, matplotlib is not installed, the folder cannot be written, or
            there is nothing to draw.
    """
    for what, given, known in (
        ("kind of plot", kinds, tuple(SPEED_KINDS)),
        ("format", formats, FORMATS),
        ("width", [width], tuple(WIDTHS)),
    ):
        for name in given:
            if name not in known:
                raise unknown_name(what, name, known)
    paths, notes, sections = list[Path](), list[str](), speed_sections(records)
    for number, section in enumerate(sections, start=1):
        place = folder / f"machine-{number}" if len(sections) > 1 else folder
        notes += [f"{place.name}: {section.title}"] * (len(sections) > 1)
        for plot in draw_speed_plots(section, kinds=kinds, width=width):
            for form in formats:
                paths.append(place / f"{plot.name}.{form}")
                save_figure(plot.figure, paths[-1], form)
    if not paths:
        raise TokbenchError(f"the records of speed tests hold nothing to draw for {', '.join(kinds)}; compare says why rows are missing")
    return Written(tuple(paths), tuple(notes))


def draw_speed_plots(section: SpeedSection, *, kinds: Sequence[str] = tuple(SPEED_KINDS), width: str = "column") -> Iterator[Plot]:
    """Draw the plots of records that compare.

    Args:
        section: The records.
        kinds: Some of ``SPEED_KINDS``.
        width: ``column`` or ``page``.

    Yields:
        One plot after the other; those without figures are left out.

    Raises:
        TokbenchError: If matplotlib is not installed.
    """
    paper = Paper(section.names, (None,) * len(section.names))
    for kind in kinds:
        found: list[SpeedPlot] = import_class(SPEED_KINDS[kind])(section)
        panels = [Panel(one.name, partial(_lines, data=one, paper=paper), tuple(line.label for line in one.lines)) for one in found]
        if width == "page" and panels:
            yield Plot(kind, drawn_panels(panels, (), WIDTHS[width], ACROSS))
        elif width == "column":
            for panel in panels:
                yield Plot(panel.name, drawn_panels([panel], (), WIDTHS[width], 1))


def _lines(axes: Axes, first: bool, *, data: SpeedPlot, paper: Paper) -> None:
    draw_speeds(axes, data, paper)
