"""Several passes over the same images, which differ in the noise that stochastic tokenizers draw: means and variances; no torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace

from tokbench.configs import canonical_json
from tokbench.records.record import Record
from tokbench.report.sections import make_sections
from tokbench.report.table import Cell, Column, Table, metric_columns
from tokbench.report.training import marks_of, training_notes
from tokbench.report.words import counted

SHOWN = {"mean": "mean", "variance": "variance", "least": "least", "most": "most"}
"""What is shown of a figure, by what follows its key, and what follows its title."""

NOTE = "passes differ in the noise that a tokenizer draws; intervals in other tables are over images, and hold none of this variance"


def passes_of(records: Sequence[Record]) -> list[list[int]]:
    """Put records together that are passes of one tokenizer over the same images.

    Args:
        records: In any order.

    Returns:
        Places of the records of each that has two passes or more, by number of the pass; of several of one number the newest.
    """
    groups: dict[object, dict[int, int]] = {}
    for i in sorted(range(len(records)), key=lambda i: records[i].created):
        record = records[i]
        key = (replace(record.protocol, noise=0).figures_from, record.data.pixels_digest, canonical_json(record.tokenizer))
        groups.setdefault(key, {})[record.protocol.noise] = i
    return [[found[noise] for noise in sorted(found)] for found in groups.values() if len(found) > 1]


def later_passes(records: Sequence[Record]) -> list[bool]:
    """Find the records that are further passes beside one that is there: tables have the first, and ``pass_tables`` all.

    Args:
        records: In any order.

    Returns:
        A flag a record.
    """
    further = {i for places in passes_of(records) for i in places[1:]}
    return [i in further for i in range(len(records))]


def pass_tables(records: Sequence[Record]) -> list[Table]:
    """Arrange what passes have in common, and how far they are apart.

    Args:
        records: Records of any tokenizers, protocols and data.

    Returns:
        A table for every protocol and data set that has several passes of a tokenizer.
    """
    groups = {places[0]: [records[i] for i in places] for places in passes_of(records)}
    firsts = [records[i] for i in groups]
    members = list(groups.values())
    return [_table(section.title, section.names, [members[i] for i in section.members]) for section in make_sections(firsts)]


def _table(title: str, names: Sequence[str], groups: Sequence[Sequence[Record]]) -> Table:
    everything = [record for group in groups for record in group]
    columns = [Column("passes", "passes")]
    cells = [[Cell(str(len(group)), float(len(group)))] for group in groups]
    for column in metric_columns(everything):
        columns += [
            replace(
                column, title=f"{column.title} {word}", key=f"{column.key}_{what}", arrow=column.arrow * (what != "variance"), info=None
            )
            for what, word in SHOWN.items()
        ]
        for own, group in zip(cells, groups, strict=True):
            own += _cells(column, group)
    notes = [NOTE, *training_notes(everything, None)]
    lacking = sum(not all(record.metrics.keys() == group[0].metrics.keys() for record in group) for group in groups)
    if lacking:
        notes.append(f"{counted(lacking, 'tokenizer has', 'tokenizers have')} passes without some figures, which others have")
    rows = tuple((name, tuple(own)) for name, own in zip(names, cells, strict=True))
    return Table(f"Over passes: {title}", tuple(columns), rows, tuple(notes))


def _cells(column: Column, group: Sequence[Record]) -> list[Cell]:
    """Mean, variance and ends of a figure, of the passes that have a number for it."""
    found = [metric for record in group if (metric := record.metrics.get(column.key)) and metric.value is not None]
    values = [metric.value for metric in found if metric.value is not None and math.isfinite(metric.value)]
    if not values:
        return [Cell("-")] * len(SHOWN)
    mark = marks_of(group[0], found[0])
    mean = Cell(column.write(statistics.fmean(values)), statistics.fmean(values), mark=mark)
    ends = [Cell(column.write(end), end, mark=mark) for end in (min(values), max(values))]
    if len(values) < 2:
        return [mean, Cell("-"), *ends]
    variance = statistics.variance(values)
    return [mean, Cell(f"{variance * column.scale**2:.3g}", variance, mark=mark), *ends]
