"""What told beforehand how well models do, as tables: a row a figure, a correlation with each outcome; no torch."""

from __future__ import annotations

from collections.abc import Sequence

from tokbench.escapes import visible
from tokbench.records.correlation import LEVEL, RankCorrelation
from tokbench.report.beforehand import FIGURE, Source
from tokbench.report.table import Cell, Column, Table
from tokbench.report.telling import FALLING, OUTCOMES, Pair, Study, Telling

MADE_BY = {"run": "tokbench run", "probe": "tokbench probe", "prediction": "tokbench predict"}
"""Kinds of records that hold figures, and the commands that write them."""


def told_tables(telling: Telling) -> list[Table]:
    """Arrange studies.

    Args:
        telling: What told.

    Returns:
        A table for each, those that determine most first; in it the figures that are determined for most outcomes first, then in the
        order in which they are measured.
    """
    return [_table(study, telling) for study in sorted(telling.studies, key=lambda study: -len(study.determined))]


def found_words(telling: Telling) -> str:
    """How many pairs are determined, beside how many chance alone would find."""
    found = len(telling.determined)
    words = f"{found} of {telling.tried} pairs of figure and outcome are determined, and chance alone would find about {telling.by_chance}"
    return f"{words} among as many{', so what is found here may be chance' if 0 < found <= LEVEL * telling.tried else ''}"


def _table(study: Study, telling: Telling) -> Table:
    rows: dict[tuple[str, Source], dict[str, Pair]] = {}
    for pair in study.pairs:
        rows.setdefault((pair.figure, pair.source), {})[pair.outcome] = pair
    asked = [outcome for outcome in OUTCOMES if any(outcome in own for own in rows.values())]
    columns = [Column("from", "kind", align="left")]
    for outcome in asked:
        columns += [Column(OUTCOMES[outcome], outcome, 2, ranged=True), Column("one left out", f"{outcome}_left_out")]
    several = {key for key, _ in rows if sum(key == other for other, _ in rows) > 1}
    lines = []
    for (key, source), own in sorted(rows.items(), key=lambda item: -sum(pair.ranks.determined for pair in item[1].values())):
        name = FIGURE[key].info.title + (f", {source.label}, data {source.data[:8]}" if key in several else "")
        cells = [Cell(MADE_BY[source.kind])]
        for outcome in asked:
            cells += _cells(own[outcome].ranks) if outcome in own else [Cell("-"), Cell("-")]
        lines.append((visible(name), tuple(cells)))
    title = f"{len(study.models)} models of {study.trained}, {study.asked}"
    return Table(visible(title), tuple(columns), tuple(lines), _notes(study, telling), lead="rank correlation of")


def _cells(ranks: RankCorrelation) -> Sequence[Cell]:
    ends = (ranks.low, ranks.high)
    written = f"{ends[0]:.2f}", f"{ends[1]:.2f}"
    return [
        Cell(f"{ranks.value:.2f}", ranks.value, ends=written, interval=ends, bold=ranks.determined),
        Cell(f"{ranks.least:.2f} to {ranks.most:.2f}"),
    ]


def _notes(study: Study, telling: Telling) -> tuple[str, ...]:
    notes = [
        "bold: determined, which is an interval without 0 and at most one order of the tokenizers in twenty that would do as well; all "
        "else is undetermined",
        ("" if len(telling.studies) == 1 else "over all tables here, ") + found_words(telling),
        "Spearman's rank correlation; intervals of 95 % are over tokenizers and prompts drawn again, and reach from -1 to 1 where one draw in "
        "forty has a single value of the figure; one left out: the smallest and the largest correlation without one of the tokenizers",
        f"models, a tokenizer each, trained and asked alike: {', '.join(study.models)}",
    ]
    if any(pair.outcome in FALLING for pair in study.pairs):
        notes.append(
            "distance of drawings: the Fréchet distance of what models draw to fresh scenes, where less is better; it is one figure, so of "
            "it tokenizers alone are drawn again; figures that are distances on the same network share their judge with it"
        )
    if study.lacking:
        counts = ", ".join(f"{title} ({count})" for title, count in study.lacking)
        notes.append(f"left out, as only some of the {len(study.models)} tokenizers have them: {counts}")
    return tuple(map(visible, notes))
