"""Records arranged for a page: groups that may be compared, entries with a name, a colour and a shape each; no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tokbench.configs import canonical_json
from tokbench.escapes import visible
from tokbench.records.figures import FIGURES, RATES
from tokbench.records.left_out import is_without
from tokbench.records.record import Record
from tokbench.records.same import digests
from tokbench.records.store import Rows
from tokbench.report.table import DERIVED, SPEED, Column, Table, column_of, make_sections, make_tables

COLOURS, SHAPES = 8, 5
"""Together they make 40 looks; more tokenizers than that begin again."""

NAME_LIMIT, TEXT_LIMIT = 120, 2000
"""Characters of a name and of any other text that the page shows."""


@dataclass(frozen=True)
class Measured:
    """What one file holds.

    Args:
        file: Its name, for the reader.
        record: The record.
        rows: The per-image values beside it; empty if there are none.
        problem: Why there are none, if they could not be read.
    """

    file: str
    record: Record
    rows: Rows
    problem: str | None = None


@dataclass(frozen=True)
class Entry:
    """One record on the page.

    Args:
        number: Number of the record on the page, from 0.
        subject: Number of the tokenizer on the page, from 0; records of one configuration and weights share it.
        paint: Number of the tokenizer among those that are no codecs; gives it colour and shape.
        name: Name of the tokenizer.
        detail: What tells it from records of the same name, else empty.
        file: The record's file.
        record: The record.
        rows: Per-image values that are numbers, infinity included: column to image id to value.
        problem: Why there are no rows, if they could not be read.
    """

    number: int
    subject: int
    paint: int
    name: str
    detail: str
    file: str
    record: Record
    rows: Rows
    problem: str | None = None

    @property
    def label(self) -> str:
        """Name and detail."""
        return f"{self.name} {self.detail}".strip()

    @property
    def codec(self) -> str | None:
        """The codec's name if this is an anchor, else None."""
        return self.record.tokenizer.codec

    @property
    def colour(self) -> int:
        """Number of the colour."""
        return self.paint % COLOURS

    @property
    def shape(self) -> int:
        """Number of the shape; with the colour it differs for every one of 40 tokenizers."""
        return (self.paint + self.paint // COLOURS) % SHAPES

    def figure(self, key: str) -> float | None:
        """A metric's figure, infinite where all images came back exactly; None where there is none, or it is no number."""
        metric = self.record.metrics.get(key)
        return None if metric is None or metric.reached is None or math.isnan(metric.reached) else metric.reached


@dataclass(frozen=True)
class Group:
    """Records under one protocol on the same images: only these stand in one table or plot.

    Args:
        number: Number of the group on the page, from 0.
        table: The group's table, one row an entry.
        entries: In the order of the table's rows.
    """

    number: int
    table: Table
    entries: tuple[Entry, ...]

    @property
    def title(self) -> str:
        """Protocol, number of images, and data."""
        return self.table.title

    @property
    def metric_columns(self) -> list[Column]:
        """The table's columns that are metrics."""
        derived = {column.key for column, _ in (*DERIVED, *SPEED)}
        return [column for column in self.table.columns if column.key not in derived]

    @property
    def row_columns(self) -> list[Column]:
        """Figures that at least one entry has per image, metrics of the table first, the bits of codecs among them."""
        found = dict.fromkeys(key for entry in self.entries for key in sorted(entry.rows) if not is_without(key))
        known = {column.key: column for column in (*map(column_of, (*FIGURES, *RATES)), *self.metric_columns)}
        ordered = [key for key in known if key in found] + [key for key in found if key not in known]
        return [known.get(key, Column(clipped(key), key, 4)) for key in ordered]


def arrange(measured: Sequence[Measured]) -> list[Group]:
    """Sort records into groups that may be compared, by the rule of ``make_sections``.

    Args:
        measured: In the order rows shall have; codecs come behind tokenizers.

    Returns:
        The groups in the order of their first records.
    """
    measured = sorted(measured, key=lambda item: item.record.tokenizer.codec is not None)
    subjects: dict[str, tuple[int, int]] = {}
    groups: list[Group] = []
    known = digests(item.record.tokenizer for item in measured)
    for section in make_sections([item.record for item in measured]):
        members = [measured[i] for i in section.members]
        (table,) = make_tables([item.record for item in members])
        columns = tuple(replace(column, title=clipped(column.title)) for column in table.columns)
        table = replace(table, title=section.title, columns=columns)
        first = sum(len(group.entries) for group in groups)
        named = zip(members, section.names, section.members, strict=True)
        entries = [_entry(first + i, item, name, known[place], subjects) for i, (item, name, place) in enumerate(named)]
        groups.append(Group(len(groups), table, tuple(entries)))
    return groups


def _entry(number: int, item: Measured, row_name: str, digest: str | None, subjects: dict[str, tuple[int, int]]) -> Entry:
    info = item.record.tokenizer
    identity = canonical_json([info.name, info.config, digest, info.source_sha256])
    if identity not in subjects:
        paint = max((paint for _, paint in subjects.values()), default=-1)
        subjects[identity] = (len(subjects), paint if info.codec else paint + 1)
    subject, paint = subjects[identity]
    detail = row_name.removeprefix(info.name).strip()
    return Entry(
        number=number,
        subject=subject,
        paint=max(paint, 0),
        name=clipped(info.name) or "(no name)",
        detail=clipped(detail),
        file=clipped(item.file),
        record=item.record,
        rows=_numbers(item.rows),
        problem=item.problem,
    )


def _numbers(rows: Rows) -> dict[str, Mapping[str, float]]:
    kept: dict[str, Mapping[str, float]] = {}
    for key, column in rows.items():
        values = {name: float(value) for name, value in column.items() if isinstance(value, int | float) and not math.isnan(value)}
        if values:
            kept[key] = values
    return kept


def clipped(text: object, limit: int = NAME_LIMIT) -> str:
    """Text that cannot break the page: on one line, cut where it is too long, with its true length said.

    Args:
        text: Anything that has a text.
        limit: Characters to keep.
    """
    line = visible(" ".join(str(text).split()))
    return line if len(line) <= limit else f"{line[:limit]}… ({len(line):,} characters)"
