"""A record beside figures that others published: what is known of their protocol, against the record's; no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tokbench.configs import plain
from tokbench.errors import TokbenchError
from tokbench.escapes import visible
from tokbench.records.record import Record
from tokbench.report.diff_tables import signed, unscaled_column
from tokbench.report.published import reasons_apart, variant_of
from tokbench.report.table import Cell, Column, Table, figure_column
from tokbench.report.training import marks_of, training_notes
from tokbench.tokenizers.family import Variant
from tokbench.tokenizers.published import PublishedFigure, published_figures
from tokbench.tokenizers.zoo import resolve

UNSTATED = "filter, crop and rounding, where the source does not state them"
"""What may differ although nothing that is known does."""


@dataclass(frozen=True)
class Quoted:
    """A published figure beside that of a record.

    Args:
        figure: Key of the figure.
        measured: In the record; None if it has none.
        published: As printed.
        protocol: What is known of how it was measured.
        apart: What is known to keep the two from comparing.
        source: Where it is printed.
        mark: What follows the measured figure for the sake of the tokenizer's training.
        trained_on: Whether the tokenizer was trained on images it was measured on.
    """

    figure: str
    measured: float | None
    published: float
    protocol: str
    apart: tuple[str, ...]
    source: str
    mark: str = ""
    trained_on: bool = False

    @property
    def change(self) -> float | None:
        """The published figure minus the measured one."""
        return None if self.measured is None else self.published - self.measured


def quoted(record: Record, name: str | None = None, ids: Iterable[str] = (), keys: Sequence[str] | None = None) -> list[Quoted]:
    """Put published figures beside a record.

    Args:
        record: What was measured.
        name: Tokenizer whose published figures are meant; None takes the record's own.
        ids: Ids of the images measured, if known.
        keys: Figures to take; None takes all.

    Raises:
        TokbenchError: If nothing published is known of the tokenizer, or not these figures.
    """
    variant = variant_of(record) if name is None else resolve(name)[1]
    figures = () if variant is None else published_figures(variant.published)
    known = dict.fromkeys(figure.metric for figure in figures)
    if known and keys is not None and (wrong := [key for key in keys if key not in known] or [""] * (not keys)):
        of = name or visible(record.tokenizer.name)
        raise TokbenchError(f"published of {of} are {', '.join(known)}; --metrics takes some of these, got {wrong[0]!r}")
    found = [_quoted(record, variant, figure, list(ids)) for figure in figures if variant and (keys is None or figure.metric in keys)]
    if not found:
        raise TokbenchError(
            f"nothing published is known of {name or visible(record.tokenizer.name)}; name a tokenizer as B, such as those of: tokbench published"
        )
    return found


def _quoted(record: Record, variant: Variant, figure: PublishedFigure, ids: Sequence[str]) -> Quoted:
    metric = record.metrics.get(figure.metric)
    source = figure.source if figure.verified else f"{figure.source} (second hand)"
    apart = tuple(dict.fromkeys(reasons_apart(record, variant, figure, ids)))
    value, mark = None if metric is None else metric.value, marks_of(record, metric)
    return Quoted(figure.metric, value, figure.value, figure.protocol, apart, source, mark, bool(record.trained_on))


def text(record: Record, found: Sequence[Quoted]) -> str:
    """Published figures in sentences, a line each."""
    return "\n".join(map(visible, _lines(record, found))) + "\n"


def _lines(record: Record, found: Sequence[Quoted]) -> Iterator[str]:
    yield f"first:  {record.tokenizer.name} under {record.protocol_label} v{record.protocol.version}, as measured"
    yield "second: what others published"
    for note in _notes(record, found):
        yield f"  note: {note}"
    for one in found:
        column = unscaled_column(one.figure, figure_column(one.figure).info)
        measured = "-" if one.measured is None else column.write(one.measured) + one.mark
        change = "" if one.change is None else f", {signed(column, one.change)}"
        yield ""
        yield f"{one.figure}: {measured} -> {one.published:g}{change}"
        yield f"  {one.source}: {one.protocol}"
        if one.apart:
            yield f"  does not compare: {'; '.join(one.apart)}"
        else:
            yield f"  nothing known keeps them apart, but for {UNSTATED}"


def tables(record: Record, found: Sequence[Quoted]) -> list[Table]:
    """Published figures as a table."""
    left = [Column(name, name, align="left") for name in ("protocol", "apart", "source")]
    columns = (Column("measured", "measured"), Column("published", "published"), Column("difference", "difference"), *left)
    rows = []
    for one in found:
        column = unscaled_column(one.figure, figure_column(one.figure).info)
        measured, change = (
            Cell("-") if value is None else Cell(write(value), value, mark=mark)
            for value, write, mark in (
                (one.measured, column.write, one.mark),
                (one.change, lambda value, column=column: signed(column, value), ""),
            )
        )
        texts = (Cell(one.protocol), Cell("; ".join(one.apart) or "nothing known"), Cell(one.source))
        rows.append((one.figure, (measured, Cell(f"{one.published:g}", one.published), change, *texts)))
    return [Table(f"{record.tokenizer.name}: measured, and published by others", columns, tuple(rows), _notes(record, found), "figure")]


def _notes(record: Record, found: Sequence[Quoted]) -> tuple[str, ...]:
    """What there is to say of the training of what was measured."""
    return tuple(training_notes([record], [one.figure for one in found]))


def as_json(record: Record, found: Sequence[Quoted]) -> str:
    """Published figures as JSON."""
    values = [{**plain(one), "change": one.change, "compares": not one.apart} for one in found]
    for one in values:
        del one["mark"]  # which is for people
    return json.dumps({"first": record.tokenizer.name, "second": "published", "figures": values}, indent=2, allow_nan=False) + "\n"
