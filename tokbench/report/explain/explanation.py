"""Why the figures of two records differ: causes, what keeps figures apart, and each difference split up; no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tokbench.escapes import visible
from tokbench.records.figure_info import FigureInfo
from tokbench.records.figures import FIGURES, known_figure
from tokbench.records.intervals import Interval
from tokbench.records.record import MetricResult, Record
from tokbench.records.store import Rows
from tokbench.report.explain.causes import SOFTWARE, Between, Cause, software_of
from tokbench.report.explain.fields import WEIGHTS
from tokbench.report.explain.judges import AREA, JudgeAxis, judge_axes
from tokbench.report.explain.split import FIRST, SECOND, Corner, Share, shares
from tokbench.report.explain.sure import Sides, interval_of_share
from tokbench.report.guards import guard_notes
from tokbench.report.subjects import one_by_names
from tokbench.report.words import counted

TELLS_TOKENIZERS = ("weights", "configuration")
"""Areas whose causes are what figures are measured for: where only these differ, figures compare."""

Item = tuple[Record, Rows]
"""A record with its per-image values."""


@dataclass(frozen=True)
class Step:
    """What of a difference is whose.

    Args:
        causes: Keys of the causes; several are one step, because no record tells them apart.
        change: What the figure changed.
        interval: 95 % interval of the change, if there is one.
        least: The least it is in any order of the causes; None where there is one order.
        most: The most it is.
    """

    causes: tuple[str, ...]
    change: float
    interval: Interval | None = None
    least: float | None = None
    most: float | None = None

    @property
    def joined(self) -> bool:
        """Whether several causes were not measured apart."""
        return len(self.causes) > 1


@dataclass(frozen=True)
class Split:
    """One figure of both records.

    Args:
        key: Key of the figure.
        before: In the first record; None if it has none.
        after: In the second.
        causes: What may move it, the weightiest first.
        apart: Keys of the causes that keep it from comparing.
        steps: Changes that add up to the whole.
        how: By which order the steps are, or what keeps the difference from being split.
        info: The figure's row, if it has one.
    """

    key: str
    before: float | None
    after: float | None
    causes: tuple[Cause, ...]
    apart: tuple[str, ...]
    steps: tuple[Step, ...]
    how: str
    info: FigureInfo | None

    @property
    def change(self) -> float | None:
        """The second minus the first; None where that is no number."""
        if self.before is None or self.after is None or not (math.isfinite(self.before) and math.isfinite(self.after)):
            return None
        return self.after - self.before


@dataclass(frozen=True)
class Explanation:
    """All there is to say of two records.

    Args:
        first: What the first is called.
        second: What the second is called.
        causes: What differs, the weightiest first.
        splits: The figures.
        notes: What else is to be known.
        between: How many records lie between the two.
        trained_on: Whether a tokenizer was trained on images it was measured on.
    """

    first: str
    second: str
    causes: tuple[Cause, ...]
    splits: tuple[Split, ...]
    notes: tuple[str, ...]
    between: int
    trained_on: bool = False


def explain(first: Item, second: Item, others: Sequence[Item] = (), keys: Sequence[str] | None = None) -> Explanation:
    """Say why the figures of two records differ.

    Args:
        first: A record with its per-image values.
        second: Another one.
        others: Records that may lie between them, see ``Between.place``.
        keys: Figures to explain; None takes all that both have, but for speeds.

    Returns:
        What differs, and the difference of each figure in steps that add up to it.
    """
    between = Between(first[0], second[0])
    ends, places = (first, second), _placed(between, others)
    known = {info.key: i for i, info in enumerate(FIGURES)}
    own = sorted(first[0].metrics.keys() | second[0].metrics.keys(), key=lambda key: (known.get(key, len(known)), key))
    chosen = list(keys) if keys is not None else [*(key for key in own if _measured(first[0], key) and _measured(second[0], key)), *RATES]
    splits = [split for key in chosen if (split := _split(key, between, ends, places)) is not None]
    judged = {(cause.key, cause.before, cause.after): cause for split in splits for cause in split.causes if cause.area == AREA}
    return Explanation(
        visible(_name(first[0])),
        visible(_name(second[0])),
        tuple(sorted((*between.causes, *judged.values()), key=lambda cause: WEIGHTS.index(cause.row.weight))),
        tuple(splits if keys is not None else [split for split in splits if split.key not in RATES or split.change != 0.0]),
        tuple(_notes(first[0], second[0], [split.key for split in splits])),
        len(places),
        bool(first[0].trained_on or second[0].trained_on),
    )


RATES = ("bits_per_image", "tokens_per_image")
"""Rates that are explained where they differ."""


def _placed(between: Between, others: Sequence[Item]) -> dict[Corner, Item]:
    """Records by where they stand between the two; of several in one place the newest."""
    places: dict[Corner, Item] = {}
    for item in sorted(others, key=lambda item: item[0].created):
        changed = between.place(item[0])
        if changed is not None:
            places[Corner(changed, _where(item[0], between))] = item
    return places


def _where(record: Record, between: Between) -> str:
    software = software_of(record)
    return FIRST if software == software_of(between.first) else SECOND if software == software_of(between.second) else str(software)


def _split(key: str, between: Between, ends: tuple[Item, Item], places: Mapping[Corner, Item]) -> Split | None:
    first, second = between.first, between.second
    if key not in first.figures() and key not in second.figures():
        return None
    info = known_figure(key, (result.info for record in (first, second) if (result := record.metrics.get(key)) and result.measured))
    judges = judge_axes(key, between, info)
    everything = (*between.causes, *(axis.cause for axis in judges))
    causes = tuple(sorted((c for c in everything if c.matters_to(key, info)), key=lambda cause: WEIGHTS.index(cause.row.weight)))
    apart = tuple(dict.fromkeys(c.step for c in causes if c.area not in TELLS_TOKENIZERS and c.row.weight != "digits"))
    before, after = (record.figures().get(key) for record in (first, second))
    split = Split(key, before, after, causes, apart, (), "", info)
    if split.change is None:
        lacking = [f"{side}: {_reason(record, key)}" for side, record in (("first", first), ("second", second)) if not _finite(record, key)]
        return _with(split, (), "; ".join(lacking))
    steps, how = _steps(key, split, between, _corners(key, between, ends, places, judges))
    return _with(split, steps, how)


def _with(split: Split, steps: tuple[Step, ...], how: str) -> Split:
    return Split(split.key, split.before, split.after, split.causes, split.apart, steps, how, split.info)


def _steps(key: str, split: Split, between: Between, corners: Mapping[Corner, Item]) -> tuple[tuple[Step, ...], str]:
    """The steps of a figure, and in which order they were taken."""
    order = [*between.order, *(cause.key for cause in split.causes if cause.area == AREA)]
    software = any(cause.row.stage == "software" for cause in between.causes)
    may = {cause.key for cause in split.causes}
    fewer = _without(corners, [cause for cause in order if cause not in may], key)
    if fewer is not None:
        corners, order = fewer, [cause for cause in order if cause in may]
    values = {corner: record.figures()[key] for corner, (record, _) in corners.items()}
    found = shares(list(corners), order, software=software)
    if not found:
        return (), "equal" if split.change == 0 else "nothing that the records say differs"
    steps = tuple(_step(share, values, {corner: Sides(record, rows) for corner, (record, rows) in corners.items()}, key) for share in found)
    if not software:  # of others, where the causes were told apart, and where they moved nothing
        steps = tuple(step for step in steps if step.causes != (SOFTWARE,) or step.change != 0)
    return steps, _how(found, order)


def _corners(
    key: str, between: Between, ends: tuple[Item, Item], places: Mapping[Corner, Item], judges: Sequence[JudgeAxis]
) -> dict[Corner, Item]:
    """Where there is a figure; how its metric was set counts as a cause where nothing else says it."""
    found: dict[Corner, Item] = {}
    for corner, item in places.items():
        own = [_side(axis, *(record.metrics.get(key) for record in (item[0], ends[0][0], ends[1][0]))) for axis in judges]
        if _finite(item[0], key) and None not in own:
            changed = {axis.cause.key for axis, second in zip(judges, own, strict=True) if second}
            found[Corner(corner.changed | changed, corner.where)] = item
    everything = frozenset([*between.order, *(axis.cause.key for axis in judges)])
    return {**found, Corner(everything, _where(ends[1][0], between)): ends[1], Corner(frozenset()): ends[0]}


def _side(axis: JudgeAxis, own: MetricResult | None, first: MetricResult | None, second: MetricResult | None) -> bool | None:
    """Whether a figure was judged as the second one, or as the first; None if as neither."""
    value = axis.value(own)
    return True if value == axis.value(second) else False if value == axis.value(first) else None


def _without(corners: Mapping[Corner, tuple[Record, Rows]], causes: Sequence[str], key: str) -> dict[Corner, tuple[Record, Rows]] | None:
    """The corners without causes that cannot move a figure; None where records show that one of them did."""
    found: dict[Corner, Item] = {}
    for corner, item in corners.items():
        place = Corner(corner.changed.difference(causes), corner.where)
        if place in found and found[place][0].figures()[key] != item[0].figures()[key]:
            return None
        found.setdefault(place, item)
    return found


def _step(share: Share, values: Mapping[Corner, float], sides: Mapping[Corner, Sides], key: str) -> Step:
    least, most = share.spread(values) or (None, None)
    return Step(share.causes, share.of(values), interval_of_share(share, sides, key), least, most)


def _how(found: Sequence[Share], order: Sequence[str]) -> str:
    joined = [" and ".join(share.causes) for share in found if len(share.causes) > 1]
    if joined:
        return "not measured apart, and so one step: " + "; ".join(joined)
    if any(share.orders for share in found):
        return f"means over all orders of {counted(len(order), 'cause')}"
    if len(found) > 1:
        return "changed one after another: " + ", ".join(share.causes[0] for share in found if share.causes != (SOFTWARE,))
    return "one cause"


def _measured(record: Record, key: str) -> bool:
    metric = record.metrics.get(key)
    return metric is not None and metric.measured


def _finite(record: Record, key: str) -> bool:
    metric = record.metrics.get(key)
    value = record.figures().get(key)
    return value is not None and math.isfinite(value) and (metric is None or not metric.exact)


def _reason(record: Record, key: str) -> str:
    metric = record.metrics.get(key)
    if metric is None:
        return "not measured"
    return metric.reason or "images came back exactly, which no number says"


def _name(record: Record) -> str:
    return f"{record.tokenizer.name} under {record.protocol_label} v{record.protocol.version}, {counted(record.data.count, 'image')} of {record.data.name}"


def _notes(first: Record, second: Record, keys: Sequence[str]) -> list[str]:
    notes = one_by_names([first.tokenizer, second.tokenizer])
    if first.data.name != second.data.name and first.data.digest == second.data.digest:
        notes.append(f"{first.data.name} and {second.data.name} are the same images under two names")
    if first.data.digest == second.data.digest and first.data.pixels_digest == second.data.pixels_digest:
        notes.append("both were measured on the very same pixels")
    for which, record in (("first", first), ("second", second)):
        if record.trained_on:
            notes.append(f"the tokenizer of the {which} was trained on images it is measured on")
    return notes + guard_notes([first, second], keys)
