"""What the metrics of two records differ in, where no field of the protocol says it: the reference, and how a metric was set; no torch."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tokbench.configs import canonical_json
from tokbench.records.figure_info import FigureInfo
from tokbench.records.record import MetricResult
from tokbench.records.references import REFERENCE, identity_of
from tokbench.report.comparable import COUNTED
from tokbench.report.explain.causes import Between, Cause
from tokbench.report.explain.fields import BY_NAME, SETS, FieldWords
from tokbench.report.guards import named_reference
from tokbench.report.words import shortened

SETTINGS = "settings"
"""Key of the cause that a metric was set otherwise."""

AREA = "metric"


@dataclass(frozen=True)
class JudgeAxis:
    """A cause that is of one figure, and what any record's figure has of it."""

    cause: Cause
    value: Callable[[MetricResult | None], Hashable]


def judge_axes(key: str, between: Between, info: FigureInfo | None) -> tuple[JudgeAxis, ...]:
    """List what a figure's metric differs in.

    Args:
        key: Key of the figure.
        between: The two records.
        info: The figure's row, if it has one.
    """
    first, second = (record.metrics.get(key) for record in (between.first, between.second))
    if first is None or second is None or not (first.measured and second.measured):
        return ()
    return tuple(_axes(key, between, info, first, second))


def _axes(key: str, between: Between, info: FigureInfo | None, first: MetricResult, second: MetricResult) -> Iterator[JudgeAxis]:
    judged = [cause for cause in between.causes if cause.area == "protocol" and cause.matters_to(key, info)]
    if _reference(first) != _reference(second) and REFERENCE not in between.order:
        row = replace(BY_NAME[REFERENCE], moves=(SETS, key))
        yield JudgeAxis(Cause(REFERENCE, AREA, row, _named(first), _named(second)), _reference)
    if _set(first) != _set(second) and not _explained(first, second, judged):
        row = FieldWords(SETTINGS, "how the metric was set", "judges", "much")
        names = [name for name in dict.fromkeys([*first.settings, *second.settings]) if _differs(name, first, second)]
        texts = (", ".join(f"{name} {shortened(str(metric.settings.get(name)), 40)}" for name in names) for metric in (first, second))
        yield JudgeAxis(Cause(SETTINGS, AREA, row, *texts), _set)


def _reference(metric: MetricResult | None) -> Hashable:
    """What a figure compares with: the digest of a reference, or words; None if nothing is said."""
    given = None if metric is None else metric.settings.get(REFERENCE)
    return identity_of(given) if isinstance(given, Mapping) else canonical_json(given)


def _named(metric: MetricResult) -> str:
    given = metric.settings.get(REFERENCE)
    if not isinstance(given, Mapping):
        return "none" if given is None else shortened(str(given), 60)
    return named_reference(given)


def _set(metric: MetricResult | None) -> Hashable:
    settings = {} if metric is None else metric.settings
    return canonical_json({name: value for name, value in settings.items() if name not in (*COUNTED, REFERENCE)})


def _differs(name: str, first: MetricResult, second: MetricResult) -> bool:
    return name not in (*COUNTED, REFERENCE) and first.settings.get(name) != second.settings.get(name)


def _explained(first: MetricResult, second: MetricResult, judged: Sequence[Cause]) -> bool:
    """Whether fields of the protocol may say all that differs between the settings of a metric."""
    said = {cause.key for cause in judged if cause.row.stage in ("judges", "tokenizer")}
    names = {name for name in {*first.settings, *second.settings} if _differs(name, first, second)}
    return bool(said - {"micro_batch"}) or names <= said
