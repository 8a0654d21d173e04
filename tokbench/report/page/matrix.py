"""Tokenizers by data sets as a picture: a row a tokenizer, a dot with its interval on each data set, and the mean rank over all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tokbench.records.intervals import Interval
from tokbench.report.across import Place, Standing, places_of, standings, subjects_of
from tokbench.report.page.answers import plays
from tokbench.report.page.axes import Scale, fit_scale
from tokbench.report.page.headings import protocols_beside, subject_of
from tokbench.report.page.model import Entry, Group
from tokbench.report.significance import significantly_best
from tokbench.report.table import Column, infinite_word
from tokbench.report.training import marks_of

WIDTH, HEIGHT, LEFT, RIGHT = 132, 20, 7, 125
"""Pixels of one strip, and where its scale begins and ends; better is to the right."""


@dataclass(frozen=True)
class Strip:
    """A figure on the scale of its column.

    Args:
        text: The figure, with the marks of its tokenizer's training.
        x: Pixel of the dot; None where it has no place, as exact ones have not.
        bar: Ends of its interval in pixels, if there is one.
        best: Whether it is the best of the tokenizers of its column by more than chance.
        tip: Lines for the reader who points at it.
    """

    text: str
    x: float | None
    bar: tuple[float, float] | None
    best: bool
    tip: str


@dataclass(frozen=True)
class Row:
    """A tokenizer: its strips on each data set, None where it was not measured, and that of its mean rank."""

    entry: Entry
    strips: tuple[Strip | None, ...]
    rank: Strip | None


@dataclass(frozen=True)
class Matrix:
    """A picture.

    Args:
        column: The figure.
        sets: Number of the group, what it shows, and how many images of what side under which protocol.
        rows: Tokenizers from the best mean rank on, those without one behind, codecs last.
        ranked: Whether there are mean ranks.
        over: How many data sets they are over.
    """

    column: Column
    sets: tuple[tuple[int, str, str], ...]
    rows: tuple[Row, ...]
    ranked: bool
    over: int


def matrices(groups: Sequence[Group], columns: Sequence[Column]) -> list[Matrix]:
    """Make a picture of each figure; where there are several data sets, of those that several have.

    Args:
        groups: Groups of the page.
        columns: The figures, from ``leading_columns``.
    """
    entries = [entry for group in groups for entry in group.entries]
    places = places_of([entry.record for entry in entries])
    found = [_matrix(groups, entries, places, column) for column in columns]
    shared = [one for one in found if len(one.sets) > 1]
    return (shared or found[:1]) if len(groups) > 1 else found


def _matrix(groups: Sequence[Group], entries: Sequence[Entry], places: Sequence[Place], column: Column) -> Matrix:
    """One figure. Codecs have a row and no rank."""
    shown = [(group, place) for group, place in zip(groups, places, strict=True) if _has(entries, place, column.key)]
    chosen = [Place(place.label, {name: i for name, i in place.members.items() if entries[i].codec is None}) for _, place in shown]
    found = standings(chosen, [entry.record for entry in entries], [entry.rows for entry in entries], column.key) if len(shown) > 1 else {}
    scales = [_scale(entries, place, column) for _, place in shown]
    best = [_best(entries, place, column.key) for place in chosen]
    ranks = fit_scale([0.5, len(found) + 0.5], RIGHT, LEFT)
    rows = []
    for name in subjects_of([place for _, place in shown]):
        own = [entries[place.members[name]] if name in place.members else None for _, place in shown]
        strips = tuple(
            None if entry is None else _strip(entry, column, scale, entry.number in flags)
            for entry, scale, flags in zip(own, scales, best, strict=True)
        )
        entry = next(entry for entry in own if entry is not None)
        if any(strips):
            rows.append((Row(entry, strips, _rank(entry, found.get(name), ranks, len(found))), found.get(name)))
    rows.sort(key=lambda one: _order(one[0], one[1], column))
    there = [group for group, _ in shown]
    sets = tuple(
        (
            group.number,
            subject_of(group),
            f"N={group.entries[0].record.data.count:,}, {group.entries[0].record.protocol.size_text} px{protocol}",
        )
        for group, protocol in zip(there, protocols_beside(there), strict=True)
    )
    return Matrix(column, sets, tuple(row for row, _ in rows), bool(found), len(shown))


def _has(entries: Sequence[Entry], place: Place, key: str) -> bool:
    return any(entries[i].figure(key) is not None for i in place.members.values())


def _order(row: Row, standing: Standing | None, column: Column) -> tuple[bool, float, float]:
    """Codecs last, then by rank, then by the first figure."""
    value = row.entry.figure(column.key)
    figure = 0.0 if value is None else -value if column.higher_is_better else value
    return row.entry.codec is not None, math.inf if standing is None else standing.rank, figure


def _scale(entries: Sequence[Entry], place: Place, column: Column) -> Scale | None:
    """The scale of a data set over tokenizers' figures and intervals; codecs and raw pixels that lie beyond are drawn at its ends."""
    log = column.info is not None and column.info.axis == "log"
    ends: list[float] = []
    nobody = not any(plays(entries[i]) for i in place.members.values())
    for entry in (entries[i] for i in place.members.values()):
        value = entry.figure(column.key)
        if value is not None and (plays(entry) or nobody):
            ends += [value, *(_interval(entry, column) or ())]
    low, high = (LEFT, RIGHT) if column.higher_is_better else (RIGHT, LEFT)
    return fit_scale(ends, low, high, log=log)


def _interval(entry: Entry, column: Column) -> tuple[float, float] | None:
    interval: Interval | None = entry.record.metrics[column.key].interval
    return None if interval is None else interval.ends()


def _strip(entry: Entry, column: Column, scale: Scale | None, best: bool) -> Strip | None:
    value = entry.figure(column.key)
    if value is None:
        return None
    text = infinite_word(value, column.higher_is_better) if math.isinf(value) else column.write(value)
    text += marks_of(entry.record, entry.record.metrics.get(column.key))
    ends = _interval(entry, column)
    written = f" [{column.write(ends[0])}, {column.write(ends[1])}]" if ends else ""
    tip = f"{entry.label}\n{column.title} {text}{written}\n{entry.record.data.name}"
    if scale is None or not scale.holds(value):
        return Strip(text, None, None, best, tip)
    return Strip(text, scale(value), (scale(ends[0]), scale(ends[1])) if ends else None, best, tip)


def _rank(entry: Entry, standing: Standing | None, scale: Scale | None, count: int) -> Strip | None:
    if standing is None or scale is None:
        return None
    ends = None if standing.interval is None else (standing.interval.low, standing.interval.high)
    text = f"{standing.rank:.2f}"
    written = f" [{ends[0]:.2f}, {ends[1]:.2f}]" if ends else ""
    tip = f"{entry.label}\nmean rank {text}{written} of {count}"
    return Strip(text, scale(standing.rank), (scale(ends[0]), scale(ends[1])) if ends else None, standing.best, tip)


def _best(entries: Sequence[Entry], place: Place, key: str) -> set[int]:
    members = [entries[i] for i in place.members.values()]
    flags = significantly_best([entry.record for entry in members], [entry.rows for entry in members], key)
    return {entry.number for entry, flag in zip(members, flags, strict=True) if flag}
