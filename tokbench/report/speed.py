"""Records of speed tests to tables: latency and rate, memory and first calls, by size; no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tokbench.configs import flat
from tokbench.escapes import visible
from tokbench.image_size import Size, sides, size_text
from tokbench.records.speed_record import STAGES, SpeedRecord, SpeedRow, Stage
from tokbench.report.sections import told_apart
from tokbench.report.subjects import one_by_names
from tokbench.report.table import Cell, Column, Table
from tokbench.report.words import counted

MODE, BATCH = Column("mode", "mode", align="left"), Column("batch", "batch")
OUTCOME = Column("outcome", "outcome", align="left")
LATENCY = Column("ms", "seconds", 2, 1e3, "↓", ranged=True)
RATE = Column("images/s", "images_per_second", 1, 1.0, "↑")
ADDED = Column("adds MB", "process_added", 0, 1e-6, "↓")
PROCESS = Column("process MB", "process", 0, 1e-6)
CUDA = Column("CUDA MB", "cuda", 0, 1e-6, "↓")
FIRST = Column("first call s", "first_seconds", 3)

WORDS = {"encode": "encoding", "decode": "decoding"}


@dataclass(frozen=True)
class SpeedSection:
    """Records that compare: of one machine, used in one way.

    Args:
        title: Where and how they were measured.
        names: Names of the records' rows.
        records: The records.
    """

    title: str
    names: tuple[str, ...]
    records: tuple[SpeedRecord, ...]

    @property
    def sizes(self) -> list[Size]:
        """Sizes of images, the smallest area first."""
        return sorted({row.size for record in self.records for row in record.rows}, key=lambda size: (math.prod(sides(size)), sides(size)))

    def rows(self, size: Size) -> list[tuple[str, str, int, dict[str, SpeedRow]]]:
        """Name, mode, batch and row by stage, of one size: modes after one another, batches ascending."""
        found: list[tuple[str, str, int, dict[str, SpeedRow]]] = []
        for name, record in zip(self.names, self.records, strict=True):
            by_key: dict[tuple[str, int], dict[str, SpeedRow]] = {}
            for row in record.rows:
                if row.size == size:
                    by_key.setdefault((row.mode, row.batch), {})[row.stage] = row
            found += [(name, mode, batch, by_key[mode, batch]) for mode, batch in sorted(by_key, key=lambda key: (key[0] != "warm", key))]
        return found


def speed_sections(records: Sequence[SpeedRecord]) -> list[SpeedSection]:
    """Put records together that compare.

    Args:
        records: In the order rows shall have.
    """
    sections: dict[tuple[object, ...], list[SpeedRecord]] = {}
    for record in records:
        machine, where = record.machine, record.environment
        settings = tuple(sorted((key, str(value)) for key, value in machine.settings.items()))
        key = (
            *(machine.device, machine.device_name, machine.threads, machine.clock, settings, where.processor, where.platform),
            *(where.packages.get("torch"), record.protocol.precision, record.protocol.compiler, record.protocol.version),
        )
        sections.setdefault(key, []).append(record)
    return [SpeedSection(_title(members[0]), tuple(_names(members)), tuple(members)) for members in sections.values()]


def speed_tables(records: Sequence[SpeedRecord]) -> list[Table]:
    """Arrange records.

    Args:
        records: In the order rows shall have.

    Returns:
        A table for every machine, size and stage: latency, rate, peak memory, and the first call.
    """
    return [_table(section, size, stage) for section in speed_sections(records) for size in section.sizes for stage in STAGES]


def _table(section: SpeedSection, size: Size, stage: Stage) -> Table:
    found = [(name, stages[stage]) for name, _, _, stages in section.rows(size) if stage in stages]
    cuda = (CUDA,) * any(row.memory is not None and row.memory.cuda is not None for _, row in found)
    outcome = (OUTCOME,) * any(row.outcome != "measured" for _, row in found)
    columns = (MODE, BATCH, *outcome, LATENCY, RATE, *cuda, ADDED, PROCESS, FIRST)
    rows = tuple((name, tuple(_cell(row, column) for column in columns)) for name, row in found)
    protocols = [record.protocol for record in section.records]
    rounds, calls = _span([one.rounds for one in protocols], "round"), _span([one.warmup for one in protocols], "call")
    notes = (
        f"ms: of one call for the whole batch, the median over {rounds} in which all take turns, with its 95 % interval, after {calls} "
        "not counted",
        "adds: resident memory of the process beyond what it held before, at most; process: all of it, other tokenizers included",
        *("CUDA: the tokenizer's weights, and the most that its allocator held beyond what it held before" for _ in cuda),
        *_reasons(found),
        *one_by_names([record.tokenizer for record in section.records]),
    )
    return Table(f"{WORDS[stage]} at {size_text(size)} px, {section.title}", columns, rows, notes)


def _cell(row: SpeedRow, column: Column) -> Cell:
    if column in (MODE, OUTCOME):
        return Cell(getattr(row, column.key))
    if column is BATCH:
        return Cell(str(row.batch), row.batch)
    value = getattr(row if hasattr(row, column.key) else row.memory, column.key, None)
    if value is None:
        return Cell("-")
    ends = row.interval.ends() if column is LATENCY and row.interval is not None else None
    return Cell(column.write(value), value, ends=None if ends is None else (column.write(ends[0]), column.write(ends[1])), interval=ends)


def _span(numbers: Sequence[int], noun: str) -> str:
    """How many there were in each record: ``10 rounds``, ``6 to 10 rounds``."""
    low, high = min(numbers), max(numbers)
    return counted(low, noun) if low == high else f"{low:,} to {counted(high, noun)}"


def _reasons(found: Sequence[tuple[str, SpeedRow]]) -> list[str]:
    """Why rows were not measured, each reason once with the modes and batches it holds for."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for name, row in found:
        if row.reason is not None:
            reasons.setdefault((name, row.reason), []).append(f"{row.mode}, batch {row.batch}")
    return [f"{name} ({'; '.join(places)}): {reason}" for (name, reason), places in reasons.items()]


def _title(record: SpeedRecord) -> str:
    machine = record.machine
    where = machine.device_name or record.environment.processor
    threads = f", {counted(machine.threads, 'thread')}" if machine.device == "cpu" else ""
    return visible(f"{machine.device} ({where}{threads}), {record.protocol.precision}")


def _names(records: Sequence[SpeedRecord]) -> list[str]:
    """Names of the rows: of one tokenizer measured with several settings, what differs follows."""
    settings = [flat(record.tokenizer.settings) for record in records]
    names = []
    for record, own in zip(records, settings, strict=True):
        group = [other for another, other in zip(records, settings, strict=True) if another.tokenizer.name == record.tokenizer.name]
        keys = [key for key in own if any(other.get(key) != own[key] for other in group)]
        names.append(visible(" ".join([record.tokenizer.name, *(f"{key}={own[key]}" for key in keys)])))
    return told_apart(names)
