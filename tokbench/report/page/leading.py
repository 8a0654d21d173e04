"""The first block of the page: tokenizers in the order of the figure that told how well models draw, edit and describe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokbench.records.probe_record import ProbeRecord
from tokbench.report.beforehand import FIGURE, Beforehand, Holder, Source, measured_alike, sections_of, source_of
from tokbench.report.page.answers import plays
from tokbench.report.page.axes import fit_scale
from tokbench.report.page.headings import headings
from tokbench.report.page.looks import Look, looks_of
from tokbench.report.page.matrix import LEFT, RIGHT, Strip
from tokbench.report.page.model import Group, clipped
from tokbench.report.table import Column, column_of
from tokbench.report.telling import OUTCOMES, Pair, Study, Telling
from tokbench.report.told_tables import found_words
from tokbench.report.training import MARK_NOTES, judge_mark, trained_mark
from tokbench.report.words import counted

MOST_SHOWN = 8
"""Tokenizers that one screen has room for; the others fold."""

SECTIONS = {"probe": "learnability", "prediction": "generation"}
"""Anchors of the sections that hold the figures; those of runs are in parts of their own."""

VERBS = {"prompt_attributes": "draw", "edit_change": "edit", "description_attributes": "describe", "fd_efflite0": "draw"}


@dataclass(frozen=True)
class Line:
    """A tokenizer.

    Args:
        name: Its name.
        detail: What tells it from others of that name, else empty.
        look: How it is drawn.
        subject: Its number on the page, by which the filter finds it; None if the page's tables lack it.
        strip: The figure.
        interval: Its interval as text; empty without one.
    """

    name: str
    detail: str
    look: Look
    subject: int | None
    strip: Strip
    interval: str


@dataclass(frozen=True)
class Ranking:
    """Tokenizers of one protocol and data set.

    Args:
        title: What they were measured under and on.
        anchor: Anchor of what holds all of it.
        studied: Whether the study had its figures from the same.
        shown: The first.
        folded: The others.
        without: How many have no such figure.
    """

    title: str
    anchor: str
    studied: bool
    shown: tuple[Line, ...]
    folded: tuple[Line, ...]
    without: int

    @property
    def count(self) -> str:
        """How many tokenizers it has."""
        return counted(len(self.shown) + len(self.folded), "tokenizer")


@dataclass(frozen=True)
class Leading:
    """The block.

    Args:
        column: The figure.
        title: Its heading.
        meaning: What the figure is, and which end of it told of better models.
        told: What it told, a text a study.
        caveats: What is to be borne in mind.
        first: The list that is shown.
        others: Those of other protocols or data, which fold.
        section: Anchor of the section of the page that has the figure; empty if it is in a part.
        own: Whether another section says what told.
    """

    column: Column
    title: str
    meaning: str
    told: tuple[str, ...]
    caveats: tuple[str, ...]
    first: Ranking
    others: tuple[Ranking, ...]
    section: str
    own: bool


def leading(telling: Telling, records: Sequence[Holder], groups: Sequence[Group] = ()) -> Leading | None:
    """Find the figure that told most among those that records have.

    Args:
        telling: What told: among the records of the page, or in this project's own study.
        records: Records of probes and predictions.
        groups: Groups of the page, with the records of runs; their tokenizers keep colours and shapes.

    Returns:
        The block; None where nothing is determined, or no record has a figure that is.
    """
    for key in telling.leading:
        figure = FIGURE.get(key)
        if figure is None:
            continue
        pairs = [pair for pair in telling.determined if pair.figure == key]
        more = max(pairs, key=lambda pair: abs(pair.ranks.value)).more_is_better
        found = _rankings(figure, more, [pair.source for pair in pairs], records, groups)
        if found:
            best = max(found, key=lambda one: (one.studied, len(one.shown) + len(one.folded)))
            return _block(telling, figure, more, best, [one for one in found if one is not best])
    return None


def _block(telling: Telling, figure: Beforehand, more: bool, first: Ranking, others: Sequence[Ranking]) -> Leading:
    pairs = [pair for pair in telling.determined if pair.figure == figure.key]
    verbs = list(dict.fromkeys(VERBS[outcome] for outcome in OUTCOMES if any(pair.outcome == outcome for pair in pairs)))
    title, meaning = figure.info.title, figure.info.meaning
    studies = sorted(telling.studies, key=lambda study: not any(pair.figure == figure.key for pair in study.determined))
    written = [line.strip.text for one in (first, *others) for line in (*one.shown, *one.folded)]
    marked = [note for mark, note in MARK_NOTES.items() if any(mark in text for text in written)]
    agreed = all(pair.more_is_better is more for pair in pairs)
    end = f"the {'higher' if more else 'lower'}, the better" if agreed else "what goes with better models differs by outcome"
    return Leading(
        column=column_of(figure.info),
        title=f"{title[0].upper()}{title[1:]}: what told how well models {_listed(verbs)}",
        meaning=f"{meaning[0].upper()}{meaning[1:]}; {end}",
        told=tuple(_told(study, figure.key) for study in studies),
        caveats=(*_caveats(telling, figure.key), *marked),
        first=first,
        others=tuple(others),
        section=SECTIONS.get(figure.kind, ""),
        own=not telling.own,
    )


def _told(study: Study, key: str) -> str:
    """What a figure told in a study."""
    pairs = [pair for pair in study.determined if pair.figure == key]
    words = [f"{pair.ranks.value:.2f} [{pair.ranks.low:.2f}, {pair.ranks.high:.2f}] with {OUTCOMES[pair.outcome]}" for pair in pairs]
    found = f"rank correlation {_listed(words)} over {counted(pairs[0].ranks.count, 'tokenizer')}" if pairs else "undetermined"
    return clipped(f"Models of {study.trained}: {found}.", 400)


def _caveats(telling: Telling, key: str) -> list[str]:
    asked = list(dict.fromkeys(study.asked for study in telling.studies))
    models = max(len(study.models) for study in telling.studies)
    where = "this project's own study (docs/which-tokenizer.md)" if telling.own else "the models among these records"
    size = f"over no more than {counted(models, 'tokenizer')} and {_listed(asked)}"
    said = [f"This is from {where}, {size}: {found_words(telling)}."]
    other = [other for other in telling.found if other != key]
    if other:
        told = [f"{FIGURE[one].info.title} ({_listed(_words(telling.determined, one))})" for one in other if one in FIGURE]
        said.append(f"Determined too: {'; '.join(told)}.")
    return [clipped(text, 600) for text in said]


def _words(pairs: Sequence[Pair], key: str) -> list[str]:
    return [f"{pair.ranks.value:.2f} with {OUTCOMES[pair.outcome]}" for pair in pairs if pair.figure == key]


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _rankings(
    figure: Beforehand, more: bool, studied: Sequence[Source], records: Sequence[Holder], groups: Sequence[Group]
) -> list[Ranking]:
    """A list for every protocol and data set of which a tokenizer has the figure."""
    found = []
    if figure.kind == "run":
        for group, heading in zip(groups, headings(groups), strict=True):
            entries = [entry for entry in group.entries if plays(entry)]
            own = [(Look(entry.colour, entry.shape), entry.subject) for entry in entries]
            placed = heading, f"figures-{group.number}"
            found.append(_ranking(figure, more, *placed, studied, [entry.record for entry in entries], [one.label for one in entries], own))
    else:
        for names, members in sections_of(records):
            if source_of(members[0]).kind == figure.kind:
                looks = looks_of([record.tokenizer for record in members], groups)
                found.append(_ranking(figure, more, _title(members[0]), SECTIONS[figure.kind], studied, members, names, looks))
    return [one for one in found if one is not None]


def _title(record: Holder) -> str:
    data = record.held_out if isinstance(record, ProbeRecord) else record.data
    return clipped(f"{source_of(record).label}: {counted(data.count, 'image')} of {data.name}", 300)


def _ranking(
    figure: Beforehand,
    more: bool,
    title: str,
    anchor: str,
    studied: Sequence[Source],
    members: Sequence[Holder],
    names: Sequence[str],
    looks: Sequence[tuple[Look, int | None]],
) -> Ranking | None:
    measured = sorted(measured_alike(figure, members), key=lambda one: (-1 if more else 1) * (one[1].value or 0.0))
    if not measured:
        return None
    column = column_of(figure.info)
    intervals = [None if result.interval is None else result.interval.ends() for _, result in measured]
    values = [result.value or 0.0 for _, result in measured]
    ends_too = [*values, *(end for ends in intervals for end in ends or ())]
    scale = fit_scale(ends_too, *((LEFT, RIGHT) if more else (RIGHT, LEFT)), log=figure.info.axis == "log")
    lines = []
    for (place, result), value, ends in zip(measured, values, intervals, strict=True):
        told, (look, subject) = members[place].tokenizer.name, looks[place]
        name, detail = clipped(told) or "(no name)", clipped(names[place].removeprefix(told).strip())
        interval = f"[{column.write(ends[0])}, {column.write(ends[1])}]" if ends else ""
        tip = f"{name} {detail}\n{column.title} {column.write(value)} {interval}\n{title}"
        text = column.write(value) + judge_mark(result.judged_by_training_network) + trained_mark(members[place].trained_on)
        drawn = scale is not None and scale.holds(value)
        x, bar = (scale(value), (scale(ends[0]), scale(ends[1])) if ends else None) if scale is not None and drawn else (None, None)
        lines.append(Line(name, detail, look, subject, Strip(text, x, bar, False, tip), interval))
    same = source_of(members[0]) in studied
    return Ranking(title, anchor, same, tuple(lines[:MOST_SHOWN]), tuple(lines[MOST_SHOWN:]), len(members) - len(measured))
