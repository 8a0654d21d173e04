"""Plots of records of language models at paper size, written as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tokbench.errors import TokbenchError, unknown_name
from tokbench.plugins import import_class
from tokbench.records.lm_record import LanguageModelRecord
from tokbench.report.evaluated import ModelGroup, model_groups
from tokbench.report.plots.dot_panels import dots_height, draw_dots
from tokbench.report.plots.dots import DotPlot
from tokbench.report.plots.kinds import LM_KINDS
from tokbench.report.plots.paper import FORMATS, WIDTHS, save_figure
from tokbench.report.plots.sheets import Panel, Plot, Written, drawn_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS = 2
"""Panels in a row at the width of a page."""


def write_lm_plots(
    records: Sequence[LanguageModelRecord],
    folder: Path,
    *,
    kinds: Sequence[str] = tuple(LM_KINDS),
    formats: Sequence[str] = FORMATS,
    width: str = "column",
) -> Written:
    """Draw what records of language models have the figures for.

    Args:
        records: Those of other prompts are drawn apart, in folders of their own.
        folder: Made if missing; files of the same name are replaced.
        kinds: Some of ``LM_KINDS``.
        formats: Some of ``FORMATS``.
        width: ``column``, every panel a file of its own, or ``page``, the panels of one kind side by side.

    Raises:
        TokbenchError: If a kind, format or width is unknown, matplotlib is not installed, the folder cannot be written, or
            there is nothing to draw.
    """
    for what, given, known in (("kind of plot", kinds, tuple(LM_KINDS)), ("format", formats, FORMATS), ("width", [width], tuple(WIDTHS))):
        for name in given:
            if name not in known:
                raise unknown_name(what, name, known)
    paths, groups = [], model_groups(records)
    for number, group in enumerate(groups, start=1):
        place = folder / f"models-{number}" if len(groups) > 1 else folder
        for plot in draw_lm_plots(records, group, kinds=kinds, width=width):
            for form in formats:
                paths.append(place / f"{plot.name}.{form}")
                save_figure(plot.figure, paths[-1], form)
    if not paths:
        raise TokbenchError(f"the records of language models hold nothing to draw for {', '.join(kinds)}; evaluate with --task generate")
    return Written(tuple(paths), ())


def draw_lm_plots(
    records: Sequence[LanguageModelRecord], group: ModelGroup, *, kinds: Sequence[str] = tuple(LM_KINDS), width: str = "column"
) -> Iterator[Plot]:
    """Draw the plots of one group; arguments are those of ``write_lm_plots``.

    Yields:
        One plot after the other; those without figures are left out.

    Raises:
        TokbenchError: If matplotlib is not installed.
    """
    for kind in kinds:
        found: list[DotPlot] = import_class(LM_KINDS[kind])(records, group)
        panels = [Panel(one.name, partial(_dots, data=one), (*one.series, *one.beside), height=dots_height(one)) for one in found]
        series = list(dict.fromkeys(name for one in found for name in one.series))
        if width == "page" and panels:
            yield Plot(kind, drawn_panels(panels, series, WIDTHS[width], ACROSS))
        elif width == "column":
            for panel in panels:
                yield Plot(panel.name, drawn_panels([panel], series, WIDTHS[width], 1))


def _dots(axes: Axes, first: bool, *, data: DotPlot) -> None:
    draw_dots(axes, data, named=first)
