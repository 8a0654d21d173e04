"""The first screen: who is best at which bits, by figure and by data set, and where that is more than chance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokbench.report.across import counted_places, places_of, standings
from tokbench.report.page.axes import short
from tokbench.report.page.headings import protocols_beside, subject_of
from tokbench.report.page.model import Entry, Group, clipped
from tokbench.report.significance import significantly_best
from tokbench.report.table import Column, infinite_word
from tokbench.report.training import marks_of
from tokbench.report.words import counted

MOST_FIGURES, MOST_BUDGETS = 6, 3
"""What one screen has room for."""

RAW = 24.0
"""Bits per pixel of raw pixels, which are their own best reconstruction."""


@dataclass(frozen=True)
class Winner:
    """Who is best.

    Args:
        entry: The record.
        text: Its figure, or its mean rank.
        title: The figure, in a row of several.
        marks: What is to be known of its training, as below the tables.
        sure: Whether it is better than each of the others by more than chance.
        tip: Lines for the reader who points at it.
    """

    entry: Entry
    text: str
    title: str
    marks: str
    sure: bool
    tip: str


@dataclass(frozen=True)
class Answer:
    """One figure at one budget, or the figures that data sets have for themselves alone: the best on each, and over all."""

    title: str
    arrow: str
    winners: tuple[Winner | None, ...]


@dataclass(frozen=True)
class Budget:
    """What may be spent.

    Args:
        label: In words.
        note: How many tokenizers keep within it.
        answers: One a figure that one of them has.
    """

    label: str
    note: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Answers:
    """The first screen.

    Args:
        sets: Number of the group, what it shows, and how many images of what side under which protocol.
        over: Whether the last column is over all data sets.
        budgets: Ascending; the last may be that of continuous latents.
    """

    sets: tuple[tuple[int, str, str], ...]
    over: bool
    budgets: tuple[Budget, ...]


def answers(groups: Sequence[Group]) -> Answers:
    """Find who is best; codecs and raw pixels stand aside.

    Args:
        groups: Groups of the page.
    """
    columns = leading_columns(groups)
    budgets = []
    for label, within in _budgets([entry for group in groups for entry in group.entries if plays(entry)]):
        kept = [[entry for entry in group.entries if plays(entry) and within(entry)] for group in groups]
        found = tuple(answer for answer in _answers(kept, columns) if any(answer.winners))
        names = {entry.subject for entries in kept for entry in entries}
        if found:
            budgets.append(Budget(label, counted(len(names), "tokenizer"), found))
    told = zip(groups, protocols_beside(groups), strict=True)
    sets = tuple((group.number, subject_of(group), _about(group) + protocol) for group, protocol in told)
    return Answers(sets, len(groups) > 1, tuple(budgets))


def leading_columns(groups: Sequence[Group]) -> list[Column]:
    """The leading figures of quality, those of most data sets first, else in the order of tables."""
    known: dict[str, Column] = {}
    counts: Counter[str] = Counter()
    for group in groups:
        for column in group.metric_columns:
            if column.info is not None and column.info.leading and column.arrow:
                known.setdefault(column.key, column)
                counts[column.key] += 1
    return [known[key] for key, _ in counts.most_common(MOST_FIGURES)]


def plays(entry: Entry) -> bool:
    """Whether it is a tokenizer that stores less than raw pixels."""
    bpp = entry.record.tokens.bpp
    return entry.codec is None and (bpp is None or (math.isfinite(bpp) and bpp < RAW))


def _about(group: Group) -> str:
    record = group.entries[0].record
    return f"{counted(record.data.count, 'image')}, {record.protocol.size_text} px"


def _budgets(entries: Sequence[Entry]) -> list[tuple[str, Callable[[Entry], bool]]]:
    """Budgets with what keeps within them: rates that tokenizers have, some of them if there are many, and latents without bits."""
    owners: dict[float, set[int]] = {}
    for entry in entries:
        if (bpp := entry.record.tokens.bpp) is not None:
            owners.setdefault(round(bpp, 6), set()).add(entry.subject)
    rates = sorted(owners)
    if len(rates) > 1 and len(owners[rates[0]]) == 1:
        rates = rates[1:]  # who is alone is the best of nobody; the next budget has it too
    if len(rates) > MOST_BUDGETS:
        rates = [rates[round(i * (len(rates) - 1) / (MOST_BUDGETS - 1))] for i in range(MOST_BUDGETS)]

    def within(rate: float) -> Callable[[Entry], bool]:
        return lambda entry: (bpp := entry.record.tokens.bpp) is not None and round(bpp, 6) <= rate

    found = [(f"at most {short(rate)} bits per pixel", within(rate)) for rate in rates]
    if any(entry.record.tokens.bpp is None for entry in entries):
        found.append(("continuous latents", lambda entry: entry.record.tokens.bpp is None))
    return found


def _answers(kept: Sequence[Sequence[Entry]], columns: Sequence[Column]) -> list[Answer]:
    """A row for each figure of several data sets, and one for those that only one has."""
    several = len(kept) > 1
    shared, own = list[Answer](), list[Winner | None]([None] * len(kept))
    for column in columns:
        winners = [_winner(entries, column) for entries in kept]
        there = [i for i, winner in enumerate(winners) if winner is not None]
        if several and len(there) == 1 and column.info is not None and column.info.data:
            own[there[0]] = own[there[0]] or winners[there[0]]
        else:
            shared.append(Answer(column.title, column.arrow, (*winners, _over(kept, column)) if several else tuple(winners)))
    return [*shared, Answer("its own figure", "", (*own, None))] if any(own) else shared


def _winner(entries: Sequence[Entry], column: Column) -> Winner | None:
    """The best of a data set."""
    measured = [(value, entry) for entry in entries if (value := entry.figure(column.key)) is not None]
    if not measured:
        return None
    value, best = (max if column.higher_is_better else min)(measured, key=lambda one: one[0])
    flags = significantly_best([entry.record for entry in entries], [entry.rows for entry in entries], column.key)
    sure = any(flag and entry is best for flag, entry in zip(flags, entries, strict=True))
    text = infinite_word(value, column.higher_is_better) if math.isinf(value) else column.write(value)
    marks = marks_of(best.record, best.record.metrics.get(column.key))
    return Winner(best, text, column.title, marks, sure, _tip(best, f"{column.title} {text}", len(measured) - 1, sure))


def _over(kept: Sequence[Sequence[Entry]], column: Column) -> Winner | None:
    """The best over all data sets, by its mean rank."""
    entries = [entry for own in kept for entry in own]
    places = places_of([entry.record for entry in entries])
    records = [entry.record for entry in entries]
    found = standings(places, records, [entry.rows for entry in entries], column.key)
    over = len(counted_places(places, records, column.key))
    if not found or over < 2:
        return None
    name = min(found, key=lambda one: found[one].rank)
    standing = found[name]
    entry = next(entries[place.members[name]] for place in places if name in place.members)
    ends = f" [{standing.interval.low:.2f}, {standing.interval.high:.2f}]" if standing.interval else ""
    text = f"{standing.rank:.2f}"
    figure = f"mean rank {text}{ends} in {column.title} over {over} data sets"
    return Winner(entry, text, column.title, "", standing.best, _tip(entry, figure, len(found) - 1, standing.best))


def _tip(entry: Entry, figure: str, others: int, sure: bool) -> str:
    against = counted(others, "other tokenizer")
    verdict = (
        f"better than {against} by more than chance"
        if sure
        else f"among {against}: not beyond chance"
        if others
        else "no other to compare with"
    )
    return "\n".join((clipped(entry.label), figure, verdict))
