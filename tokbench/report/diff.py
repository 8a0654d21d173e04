"""Two records side by side: what differs in how they were made, and by how much every figure differs; no torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tokbench.configs import canonical_json, flat, plain
from tokbench.errors import TokbenchError
from tokbench.escapes import visible
from tokbench.records.figure_info import FigureInfo
from tokbench.records.figures import FIGURES, known_figure
from tokbench.records.intervals import Interval
from tokbench.records.protocol import value_text, without_rounding
from tokbench.records.record import MetricResult, Record
from tokbench.records.store import Rows
from tokbench.report.comparable import machine_of, plain_settings
from tokbench.report.gate import CHANGE, HIGH, LOW
from tokbench.report.guards import guard_notes
from tokbench.report.paired_sets import SetDifference, set_difference
from tokbench.report.rates import OF_LAYOUT, rate_columns, rate_result
from tokbench.report.sections import make_sections
from tokbench.report.significance import PairedDifference, image_groups, interval_of_difference, paired_difference, too_few
from tokbench.report.subjects import one_by_names
from tokbench.report.table import DERIVED, SPEED, TIMED
from tokbench.report.training import judge_mark, trained_mark
from tokbench.report.words import counted

Verdict = Literal["better", "worse", "same", "unjudged"]

A_COUNT = "a count, which is neither better nor worse by itself"

BETWEEN_RUNS = "intervals of speeds hold within one run only"
"""A machine under other load, or just warmer, moves a whole run by more than its micro-batches differ among themselves."""


@dataclass(frozen=True)
class Setting:
    """Something that differs between two records.

    Args:
        area: ``tokenizer``, ``config``, ``protocol``, ``data``, ``timing`` or ``environment``.
        name: Name of the setting, dotted.
        before: In the first record, as text.
        after: In the second.
    """

    area: str
    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Change:
    """One figure in both records.

    Args:
        key: Key of the metric or derived value.
        before: In the first record, infinite where all its images came back exactly; None if it has none.
        after: In the second.
        change: Second minus first; where images came back exactly, the mean difference over those that did in neither. None if a side
            has none, or it has no number.
        interval: 95 % interval of the change, if there is one.
        verdict: Verdict of the second against the first: ``same`` is no difference beyond chance, ``unjudged`` no telling.
        why: What the verdict rests on, or why there is none.
        unknown: Why no condition can rest on the change, empty if one can: the sides do not compare, or the change has no number.
        exact: Images that came back exactly in the first record, and in the second.
        judged: Whether the tokenizer of the first record, and that of the second, was trained with the network that judges here;
            None is not known.
        trained_on: Whether the tokenizer of the first record, and that of the second, was trained on images it was measured on.
        info: The figure's row; None if there is none.
    """

    key: str
    before: float | None
    after: float | None
    change: float | None
    interval: Interval | None
    verdict: Verdict
    why: str
    unknown: str = ""
    exact: tuple[int, int] = (0, 0)
    judged: tuple[bool | None, bool | None] = (False, False)
    trained_on: tuple[bool, bool] = (False, False)
    info: FigureInfo | None = None


@dataclass(frozen=True)
class Difference:
    """What there is to say of two records: settings first, then figures, then warnings."""

    before: str
    after: str
    settings: tuple[Setting, ...]
    changes: tuple[Change, ...]
    warnings: tuple[str, ...] = ()
    apart: str = ""

    @property
    def title(self) -> str:
        """The tokenizers' names, one if they are the same; or what tells it from other differences of that name."""
        return self.apart or self.before if self.before == self.after else f"{self.before} -> {self.after}"

    def values(self) -> dict[str, float | str]:
        """Figures of the second record and, as ``KEY.change``, changes; reasons where there are none. For gates.

        The ends of the interval of a change are ``KEY.change.low`` and ``KEY.change.high``.
        """
        figures = {one.key: one.after if one.after is not None else "the second record has none" for one in self.changes}
        changes = {
            one.key + CHANGE: one.change if one.change is not None and not one.unknown else one.unknown or one.why for one in self.changes
        }
        for one in self.changes:
            none = one.unknown or ("its change has no interval" if one.interval is None else "")
            for end, name in ((LOW, "low"), (HIGH, "high")):
                changes[one.key + CHANGE + end] = none or float(getattr(one.interval, name))
        return figures | changes  # no figure of a record may stand for a change

    def marks(self) -> dict[str, str]:
        """What tables mark such values with for the sake of training: figures of the second record, and changes by either side's."""
        found: dict[str, str] = {}
        for one in self.changes:
            sides = [judge_mark(judged) + trained_mark(trained) for judged, trained in zip(one.judged, one.trained_on, strict=True)]
            change = "".join(dict.fromkeys("".join(sides)))
            found |= {one.key: sides[1]} | dict.fromkeys((one.key + CHANGE + end for end in ("", LOW, HIGH)), change)
        return found


def told_apart_by_place(differences: Sequence[Difference], after: Sequence[Record]) -> list[Difference]:
    """Give differences of one title a title each: the tokenizer with what else tells it apart, protocol and data.

    Args:
        differences: What differs in pairs of records.
        after: The second record of each.
    """
    titles = Counter(one.title for one in differences)
    names = make_sections(after, mix=True)[0].names if after else ()
    return [replace(one, apart=name) if titles[one.title] > 1 else one for one, name in zip(differences, names, strict=True)]


def diff_records(before: Record, after: Record, rows_before: Rows, rows_after: Rows) -> Difference:
    """Compare two records.

    Where both have per-image values of the same images, a change is judged on differences paired by image, over groups. So are the bits of
    codecs. A figure of the whole set is judged by the intervals of both sides. What has neither is not judged.

    Args:
        before: The first.
        after: The second.
        rows_before: Per-image values of the first, as ``read_rows`` returns them.
        rows_after: Rows of the second.
    """
    known = {info.key: i for i, info in enumerate(FIGURES)}
    keys = sorted(before.metrics.keys() | after.metrics.keys(), key=lambda key: (known.get(key, len(known)), key))
    metrics = [
        replace(
            _metric_change(key, before, after, rows_before, rows_after),
            judged=(_is_judged(before, key), _is_judged(after, key)),
            trained_on=(bool(before.trained_on), bool(after.trained_on)),
        )
        for key in keys
    ]
    measured = [one for one in metrics if one.before is not None or one.after is not None]
    others = [_rate_change(column.key, before, after, rows_before, rows_after) for column, _ in DERIVED]
    others += [
        _plain_change(column.key, get(before), get(after), BETWEEN_RUNS if column.key in TIMED else A_COUNT) for column, get in SPEED
    ]
    sides = (("the first", before), ("the second", after))
    known_of_one = [one for one in others if one.before is not None or one.after is not None]
    changes = [
        replace(one, unknown=_keeps_apart(one.key, before, after) or one.unknown, info=_row(one.key, before, after))
        for one in (*measured, *known_of_one)
    ]
    few = dict.fromkeys(too_few(record.data.count, record.data.groups) for record in (before, after))
    trained = [f"{which} tokenizer was trained on images it is measured on" for which, record in sides if record.trained_on]
    trained += [*guard_notes([before, after], None), *one_by_names([before.tokenizer, after.tokenizer])]
    return Difference(
        visible(before.tokenizer.name),
        visible(after.tokenizer.name),
        tuple(differing(before, after)),
        tuple(changes),
        (*trained, *(warning for warning in few if warning is not None)),
    )


def _row(key: str, before: Record, after: Record) -> FigureInfo | None:
    return known_figure(key, (result.info for record in (before, after) if (result := record.metrics.get(key)) and result.measured))


def differing(before: Record, after: Record) -> list[Setting]:
    """List what differs in tokenizer, configuration, protocol, data, timing and environment."""
    found = []
    for area, ours, theirs in zip(_AREAS, _areas(before), _areas(after), strict=True):
        for name in dict.fromkeys([*ours, *theirs]):
            a, b = ours.get(name), theirs.get(name)
            if a != b:
                found.append(Setting(area, name, _short(a), _short(b)))
    return found


def match_records(
    before: Sequence[tuple[Path, Record]], after: Sequence[tuple[Path, Record]]
) -> tuple[list[tuple[tuple[Path, Record], tuple[Path, Record]]], list[str]]:
    """Find the records that belong together.

    One record on each side are always a pair. Else those of one tokenizer, protocol and data set are; of several, those of the
    same configuration; of several of those, the newest.

    Args:
        before: Files with their records.
        after: Records of the other side.

    Returns:
        The pairs, and a line for every record left alone.

    Raises:
        TokbenchError: If there is no pair.
    """
    if len(before) == len(after) == 1:
        return [(before[0], after[0])], []
    pairs, alone = [], []
    ours, theirs = _by_subject(before), _by_subject(after)
    for subject in dict.fromkeys([*ours, *theirs]):
        a, b = ours.get(subject, {}), theirs.get(subject, {})
        if len(a) == len(b) == 1:
            pairs.append((next(iter(a.values())), next(iter(b.values()))))
            continue
        pairs += [(a[config], b[config]) for config in a if config in b]
        alone += [f"{path}: only in the first place" for config, (path, _) in a.items() if config not in b]
        alone += [f"{path}: only in the second place" for config, (path, _) in b.items() if config not in a]
    if not pairs:
        names = ", ".join(sorted({record.tokenizer.name for _, record in (*before, *after)}))
        raise TokbenchError(f"no record of the first place has its like in the second ({names}); give two record files instead")
    return pairs, alone


_AREAS = ("tokenizer", "config", "protocol", "data", "timing", "environment")


def _areas(record: Record) -> list[dict[str, Any]]:
    tokenizer, data, timing, environment = (plain(part) for part in (record.tokenizer, record.data, record.timing, record.environment))
    config = flat(tokenizer.pop("config"))
    data["skipped"] = len(data["skipped"])
    speeds = ("encode_images_per_second", "decode_images_per_second", "total_seconds", "encode_interval", "decode_interval")
    timing = {key: value for key, value in timing.items() if key not in speeds}
    return [tokenizer, config, plain(record.protocol) | {"size": value_text(record.protocol, "size")}, data, timing, flat(environment)]


def _short(value: Any) -> str:
    text = "none" if value is None else ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
    is_digest = len(text) == 64 and all(character in "0123456789abcdef" for character in text)
    return text[:8] if is_digest else text


def _by_subject(found: Sequence[tuple[Path, Record]]) -> dict[tuple[str, str, str], dict[str, tuple[Path, Record]]]:
    """Records by tokenizer, protocol and data, then by configuration; the newest of each."""
    subjects: dict[tuple[str, str, str], dict[str, tuple[Path, Record]]] = {}
    for path, record in sorted(found, key=lambda item: (item[1].created, str(item[0]))):
        subject = (record.tokenizer.name, without_rounding(record.protocol_label), record.data.name)
        subjects.setdefault(subject, {})[canonical_json(record.tokenizer.config)] = (path, record)
    return subjects


def _is_judged(record: Record, key: str) -> bool | None:
    metric = record.metrics.get(key)
    return metric.judged_by_training_network if metric is not None and metric.measured else False


def _metric_change(key: str, before: Record, after: Record, rows_before: Rows, rows_after: Rows) -> Change:
    first, second = before.metrics.get(key), after.metrics.get(key)
    a, b = (None if metric is None else metric.reached for metric in (first, second))
    if first is None or second is None or a is None or b is None:
        missing = [metric.reason if metric is not None and metric.reason else "not measured" for metric in (first, second)]
        sides = [f"{side}: {why}" for side, value, why in zip(("first", "second"), (a, b), missing, strict=True) if value is None]
        return Change(key, a, b, None, None, "unjudged", "; ".join(sides))
    one = Change(key, a, b, _minus(b, a), None, "unjudged", "", exact=(first.exact, second.exact))
    if before.data.pixels_digest != after.data.pixels_digest:
        return replace(one, why="measured on other images")
    if plain_settings(first) != plain_settings(second):
        return replace(one, why="the metric's settings differ", unknown="the metric's settings differ")
    pair = set_difference([(1.0, after, rows_after), (-1.0, before, rows_before)], key)
    return _judged(one, first, second, before, rows_before.get(key, {}), rows_after.get(key, {}), pair)


def _rate_change(key: str, before: Record, after: Record, rows_before: Rows, rows_after: Rows) -> Change:
    """What an image costs: a codec's files are compared image by image, also with what a tokenizer takes for each."""
    first, second = rate_result(before, key), rate_result(after, key)
    codecs = [record.tokenizer.codec is not None for record in (before, after)]
    if first is None or second is None or first.value is None or second.value is None or not any(codecs):
        return _plain_change(key, before.figures().get(key), after.figures().get(key), OF_LAYOUT)
    one = Change(key, first.value, second.value, second.value - first.value, None, "unjudged", "")
    if before.data.pixels_digest != after.data.pixels_digest:
        return replace(one, why="measured on other images")
    ours, theirs = rate_columns([(before, rows_before), (after, rows_after)], key)
    found = _judged(one, first, second, before, ours, theirs, None)
    if all(codecs) or (ours and theirs) or found.interval is None:
        return found
    of_codec = first.interval if codecs[0] else second.interval
    return replace(found, why=of_codec.method if of_codec is not None else found.why)


def _judged(
    one: Change,
    first: MetricResult,
    second: MetricResult,
    record: Record,
    before: Mapping[str, float],
    after: Mapping[str, float],
    pair: SetDifference | None,
) -> Change:
    higher = second.higher_is_better
    if pair is not None and not any(one.exact):  # a figure of the whole set, though there may be values of images beside it
        if one.before == one.after:
            return replace(one, verdict="same", why="equal")
        why = f"{pair.interval.method}, p {pair.p:.2g}"
        return replace(one, interval=pair.interval, verdict=_verdict(pair.value, pair.significant, higher), why=why)
    groups = image_groups(record, before.keys() | after.keys())
    paired = paired_difference(after, before, groups) if before and after and groups is not None else None
    if paired is not None:
        over = f"{counted(paired.images, 'pair')}, {counted(paired.groups, 'group')}, p {paired.p:.2g}"
        judged = replace(one, interval=paired.interval, verdict=_verdict(paired.sign, paired.significant, higher), why=over)
        exactly = any(one.exact) or not math.isfinite(first.reached or 0.0) or not math.isfinite(second.reached or 0.0)
        return _of_inexact(judged, paired, higher) if exactly else judged
    if first.wholly_exact and second.wholly_exact:
        return replace(one, verdict="same", why="every image came back exactly in both")
    if any(one.exact) or math.inf in (one.before, one.after):
        why = "without per-image values of both records there is no telling which images came back exactly"
        return replace(one, change=None, why=why, unknown=why)
    if one.before == one.after:
        return replace(one, verdict="same", why="equal")
    interval = interval_of_difference(second, first)
    if interval is not None:
        apart = interval.low > 0 or interval.high < 0
        return replace(one, interval=interval, verdict=_verdict(one.change or 0.0, apart, higher), why=interval.method)
    return replace(one, why="there is no interval")


def _of_inexact(one: Change, paired: PairedDifference, higher: bool | None) -> Change:
    """The change over the images that came back exactly in neither record; one that is exact no longer is a loss that no number holds.

    Images that became exact do not make up for what others lost: they are named, and left out.
    """
    if not paired.above and not paired.below:
        return replace(one, change=paired.mean)
    gained, lost = (paired.below, paired.above) if higher is False else (paired.above, paired.below)
    sides = [f"{counted(count, 'image')} exact in the {side} only" for count, side in ((lost, "first"), (gained, "second")) if count]
    unknown = "; ".join(sides) if lost or higher is None else ""
    change = paired.mean if math.isfinite(paired.mean) else None if unknown else math.inf if higher else -math.inf
    return replace(one, change=change, why="; ".join([one.why, *sides]), unknown=unknown)


def _keeps_apart(key: str, before: Record, after: Record) -> str:
    """Why a change between two records says nothing of their tokenizers; empty if nothing keeps them apart."""
    if key == "parameters":
        return ""
    if before.protocol.figures_from != after.protocol.figures_from:
        return "measured under another protocol"
    if before.data.pixels_digest != after.data.pixels_digest:
        return "measured on other images"
    return "measured on another machine, or otherwise on it" if key in TIMED and machine_of(before) != machine_of(after) else ""


def _verdict(change: float, apart: bool, higher: bool | None) -> Verdict:
    if not apart:
        return "same"
    if higher is None:
        return "unjudged"
    return "better" if (change > 0) is higher else "worse"


def _plain_change(key: str, before: float | None, after: float | None, untold: str) -> Change:
    if before is None or after is None:
        return Change(key, before, after, None, None, "unjudged", "one of the records has none")
    same = before == after
    return Change(key, before, after, _minus(after, before), None, "same" if same else "unjudged", "equal" if same else untold)


def _minus(after: float, before: float) -> float:
    return 0.0 if after == before and math.isinf(after) else after - before
