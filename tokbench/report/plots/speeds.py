"""Speed tests as lines over the batch: images per second, and memory; nothing is drawn here."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tokbench.image_size import size_text
from tokbench.records.speed_record import MODES, STAGES, SpeedRow
from tokbench.report.plots.data import TINY, Axis
from tokbench.report.speed import WORDS, SpeedSection
from tokbench.report.table import HUGE

BATCH = Axis("images at once", True, None)
RATE = Axis("images per second", True, True)
CUDA, ADDED = Axis("CUDA memory MB", True, False), Axis("memory added MB", True, False)


@dataclass(frozen=True)
class SpeedPoint:
    """A figure at one batch, with its 95 % interval where there is one."""

    batch: int
    value: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class SpeedLine:
    """One tokenizer in one mode.

    Args:
        name: Name of its row.
        mode: Whether it was compiled.
        points: By batch, ascending.
    """

    name: str
    mode: str
    points: tuple[SpeedPoint, ...]

    @property
    def label(self) -> str:
        """What a legend calls it."""
        return self.name if self.mode == MODES[0] else f"{self.name}, {self.mode}"


@dataclass(frozen=True)
class SpeedPlot:
    """Lines of one stage at one size.

    Args:
        name: Name of its file.
        title: What it shows.
        axis: The axis up.
        lines: In the order of the records; those without a point are left out.
    """

    name: str
    title: str
    axis: Axis
    lines: tuple[SpeedLine, ...]

    @property
    def batches(self) -> list[int]:
        """Batches of all points, ascending."""
        return sorted({point.batch for line in self.lines for point in line.points})


def throughput_plots(section: SpeedSection) -> list[SpeedPlot]:
    """Images per second by batch, a plot for every size and stage that has some.

    Args:
        section: Records that compare.
    """
    return _plots(section, "throughput", RATE, _rate)


def memory_plots(section: SpeedSection) -> list[SpeedPlot]:
    """Peak memory by batch: of CUDA where it was measured, else what the process added.

    Args:
        section: Records that compare.
    """
    on_cuda = any(row.memory and row.memory.cuda is not None for record in section.records for row in record.rows)
    return _plots(section, "memory", CUDA if on_cuda else ADDED, _cuda if on_cuda else _added)


def _plots(section: SpeedSection, name: str, axis: Axis, point_of: Callable[[SpeedRow], SpeedPoint | None]) -> list[SpeedPlot]:
    plots = []
    for size in section.sizes:
        rows, px = section.rows(size), size_text(size)
        for stage in STAGES:
            points: dict[tuple[str, str], list[SpeedPoint]] = {}
            for subject, mode, _, stages in rows:
                point = point_of(stages[stage]) if stage in stages else None
                if point is not None:
                    points.setdefault((subject, mode), []).append(point)
            lines = tuple(SpeedLine(*key, tuple(found)) for key, found in points.items())
            if lines:
                plots.append(SpeedPlot(f"{name}-{stage}-{px}px", f"{WORDS[stage].capitalize()} at {px} px", axis, lines))
    return plots


def _rate(row: SpeedRow) -> SpeedPoint | None:
    if not _fits(row.images_per_second):
        return None
    ends = row.interval.ends() if row.interval else None
    between = None if ends is None or not all(map(_fits, ends)) else (row.batch / ends[1], row.batch / ends[0])
    return SpeedPoint(row.batch, float(row.images_per_second or 0), between)


def _cuda(row: SpeedRow) -> SpeedPoint | None:
    return _megabytes(row, row.memory.cuda if row.memory else None)


def _added(row: SpeedRow) -> SpeedPoint | None:
    return _megabytes(row, row.memory.process_added if row.memory else None)


def _megabytes(row: SpeedRow, memory: int | None) -> SpeedPoint | None:
    return SpeedPoint(row.batch, memory / 1e6) if memory is not None and 0 < memory < HUGE else None


def _fits(value: float | None) -> bool:
    """Whether a logarithmic axis can hold a figure."""
    return value is not None and math.isfinite(value) and TINY < value < HUGE
