"""How fast tokenizers are, as plots: images per second and memory over the batch; drawn by the template of curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tokbench.records.speed_record import MODES, SpeedRecord
from tokbench.report.page.axes import fit_scale, short
from tokbench.report.page.learned import Curve, CurvePlot
from tokbench.report.page.looks import looks_of
from tokbench.report.page.model import SHAPES, Group, clipped
from tokbench.report.page.scatter import BOTTOM, LEFT, RIGHT, TOP
from tokbench.report.plots.speeds import BATCH, SpeedLine, SpeedPlot, memory_plots, throughput_plots
from tokbench.report.speed import speed_sections


def speed_curves(records: Sequence[SpeedRecord], groups: Sequence[Group] = ()) -> list[CurvePlot]:
    """Plots of every machine, size and stage.

    Args:
        records: Records of speed tests.
        groups: Groups of the page, whose tokenizers keep their colours.
    """
    sections = speed_sections(records)
    found = []
    for section in sections:
        looks = looks_of([record.tokenizer for record in section.records], groups)
        colours = {name: look.colour for name, (look, _) in zip(section.names, looks, strict=True)}
        where = f", {section.title}" if len(sections) > 1 else ""
        found += [_placed(plot, colours, where) for plot in (*throughput_plots(section), *memory_plots(section))]
    return [plot for plot in found if plot is not None]


def _placed(data: SpeedPlot, colours: Mapping[str, int], where: str) -> CurvePlot | None:
    x = fit_scale((float(batch) for batch in data.batches), LEFT, RIGHT, log=True)
    y = fit_scale((point.value for line in data.lines for point in line.points), BOTTOM, TOP, log=True)
    if x is None or y is None:
        return None
    curves = []
    for line in data.lines:
        path = "M" + "L".join(f"{x(point.batch):g} {y(point.value):g}" for point in line.points) + ("h1" if len(line.points) == 1 else "")
        dash = (MODES.index(line.mode) if line.mode in MODES else 1) % SHAPES
        curves.append(Curve(clipped(line.label), colours[line.name], dash, path, _tip(line, data)))
    title = f"{data.title}: {data.axis.title}{where}"
    return CurvePlot(clipped(title), BATCH.title, tuple(x.ticks(5)), tuple(y.ticks(6)), tuple(curves), data.axis.label)


def _tip(line: SpeedLine, data: SpeedPlot) -> str:
    points = [f"{point.batch} at once: {short(point.value)} {data.axis.title}" for point in line.points[:20]]
    return "\n".join([clipped(line.label), *points])
