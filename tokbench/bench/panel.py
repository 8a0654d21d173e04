"""The metrics of one run: created, fed and read together; one that fails is named, and the others finish."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

import torch

from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.base import Figure, Metric
from tokbench.bench.observation import Observation, Subject
from tokbench.conduct import Misbehaved
from tokbench.configs import canonical_json
from tokbench.errors import TokbenchError, brief, out_of_memory
from tokbench.records.figures import BY_KEY, FigureInfo
from tokbench.records.intervals import Interval
from tokbench.records.record import CodebookUse, MetricResult
from tokbench.signals import Ended
from tokbench.weights.training import UNKNOWN

logger = logging.getLogger(__name__)


class Panel:
    """Metrics that judge one tokenizer on one set of images.

    Args:
        classes: Classes of the metrics.
        subject: What is known before the first image.
        context: Where and with what they run.

    Attributes:
        failures: One line for every metric whose code failed, or that gave what is no figure.
    """

    def __init__(self, classes: Sequence[type[Metric]], subject: Subject, context: MetricContext) -> None:
        """Create the metrics that apply."""
        self.failures: list[str] = []
        self._results: dict[str, MetricResult] = {}
        self._active: list[Metric] = []
        for cls in classes:
            try:
                metric = self._attempt(cls, "create", lambda cls=cls: _create(cls, context), may_refuse=True)  # type: ignore[misc]
                reason = None
            except TokbenchError as error:
                if isinstance(error, Misbehaved):
                    raise
                logger.info("%s is left out: %s", cls.name, error)
                metric, reason = None, str(error)
            if metric is not None:
                reason = self._attempt(cls, "not_applicable", lambda metric=metric: _reason(metric, subject))  # type: ignore[misc]
            if reason is not None:
                self._without(cls if metric is None else metric, reason)
            elif metric is not None and not self._failed(cls):
                self._active.append(metric)

    def update(self, observation: Observation) -> None:
        """Take one micro-batch in; a metric of others sees copies of the images."""
        for metric in tuple(self._active):
            seen = observation if _is_ours(type(metric)) else _copy(observation)
            self._attempt(metric, "update", lambda metric=metric, seen=seen: metric.update(seen))  # type: ignore[misc]

    def finish(
        self, measured: Subject, trained_with: Sequence[str]
    ) -> tuple[dict[str, MetricResult], dict[str, dict[str, float]], tuple[CodebookUse, ...]]:
        """Read the metrics.

        Args:
            measured: What was measured in the end; images may have been skipped.
            trained_with: Networks and data that the tokenizer's training used.

        Returns:
            Figures or reasons by key, per-image values by column and image, and how often codes occur.
        """
        rows: dict[str, dict[str, float]] = {}
        books: list[CodebookUse] = []
        for metric in tuple(self._active):
            found = self._attempt(metric, "finish", lambda metric=metric: _read(metric, measured, trained_with))  # type: ignore[misc]
            if found is None:
                continue
            results, own_rows, own_books = found
            self._results |= results
            rows |= {column: values for column, values in own_rows.items() if column not in rows}
            books += own_books
        return dict(sorted(self._results.items())), rows, tuple(books)

    def _attempt(self, metric: Metric | type[Metric], what: str, action: Callable[[], Any], *, may_refuse: bool = False) -> Any:
        """Let a metric do something; one that fails is left out from then on, and None returned."""
        cls = _class_of(metric)
        try:
            return action()
        except (KeyboardInterrupt, Ended, MemoryError, torch.OutOfMemoryError, Misbehaved):
            raise  # what the tokenizer did wrong while a metric asked it is not the metric's fault
        except BaseException as error:  # code of others: it may raise anything, and even end the process
            if out_of_memory(error):
                raise
            if may_refuse and isinstance(error, TokbenchError):
                raise
            why = str(error) if isinstance(error, TokbenchError) else brief(error)
            line = f"metric {cls.name} fails in {what} ({why}); the others go on"
            logger.debug("%s", line, exc_info=True)
            self.failures.append(line)
            self._without(metric, f"it failed in {what} ({why})")
            self._active = [other for other in self._active if type(other) is not cls]
            return None

    def _without(self, metric: Metric | type[Metric], reason: str) -> None:
        self._results |= {key: MetricResult(reason=reason) for key in _keys(metric)}

    def _failed(self, cls: type[Metric]) -> bool:
        return all(key in self._results for key in cls.figure_names())


def _create(cls: type[Metric], context: MetricContext) -> Metric:
    metric: Any = cls.create(context)
    if not isinstance(metric, Metric):
        raise TypeError(f"create returns a {type(metric).__name__}, not a metric")
    return metric


def _reason(metric: Metric, subject: Subject) -> str | None:
    reason: Any = metric.not_applicable(subject)
    if reason is not None and not isinstance(reason, str):
        raise TypeError(f"not_applicable returns a {type(reason).__name__}, not text or None")
    return reason


def _keys(metric: Metric | type[Metric]) -> tuple[str, ...]:
    """Keys of what a metric gives."""
    return tuple(info.key for info in _infos(metric))


def _infos(metric: Metric | type[Metric]) -> tuple[FigureInfo, ...]:
    """The rows of its figures; of those of others, what was seen to be sound when they were chosen."""
    return metric.figures if _is_ours(_class_of(metric)) else _class_of(metric).figures


def _class_of(metric: Metric | type[Metric]) -> type[Metric]:
    return metric if isinstance(metric, type) else type(metric)


def _is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "tokbench"


def _copy(observation: Observation) -> Observation:
    """An observation whose images may be written to."""
    return replace(
        observation,
        reference=observation.reference.clone(),
        reconstruction=observation.reconstruction.clone(),
        reencode=lambda: observation.tokens_again,
    )


def _read(
    metric: Metric, measured: Subject, trained_with: Sequence[str]
) -> tuple[dict[str, MetricResult], dict[str, dict[str, float]], tuple[CodebookUse, ...]]:
    """Everything a metric has to say.

    Raises:
        TypeError: If something is of another kind than a metric's contract says.
        ValueError: If figures are not those announced.
    """
    metric.finish()
    reason = _reason(metric, measured)  # images may have been skipped
    if reason is not None:
        return {key: MetricResult(reason=reason) for key in _keys(metric)}, {}, ()
    settings = metric.settings
    canonical_json(settings)  # what no record can hold shows here
    report: Any = metric.report()
    if not isinstance(report, Mapping) or set(report) != set(_keys(metric)):
        given = sorted(map(str, report)) if isinstance(report, Mapping) else type(report).__name__
        raise ValueError(f"report gives {given}, announced are {', '.join(_keys(metric))}")
    results = {info.key: _result(info, report[info.key], settings, trained_with) for info in _infos(metric)}
    return results, {str(column): _numbers(column, values) for column, values in metric.rows().items()}, tuple(metric.codebooks())


def _judged(networks: Sequence[str], trained_with: Sequence[str]) -> bool | None:
    """Whether a network that judges took part in the training; None if that is not known."""
    if any(network in trained_with for network in networks):
        return True
    return None if networks and UNKNOWN in trained_with else False


def _result(info: FigureInfo, figure: Any, settings: dict[str, Any], trained_with: Sequence[str]) -> MetricResult:
    key = info.key
    if not isinstance(figure, Figure):
        raise TypeError(f"report gives a {type(figure).__name__} for {key}, not a Figure")
    if not isinstance(figure.value, Real) or isinstance(figure.value, bool):
        raise TypeError(f"the value of {key} is a {type(figure.value).__name__}, not a number")
    if type(figure.exact) is not int or figure.exact < 0:
        raise TypeError(f"the number of exact images of {key} is {figure.exact!r}, not a count")
    if not isinstance(figure.interval, Interval | None):
        raise TypeError(f"the interval of {key} is a {type(figure.interval).__name__}, not an Interval")
    return MetricResult(
        value=None if figure.exact and math.isinf(figure.value) else float(figure.value),
        unit=info.unit,
        higher_is_better=info.higher_is_better,
        settings=settings,
        interval=figure.interval,
        by_codebook=figure.by_codebook,
        judged_by_training_network=_judged(info.networks, trained_with),
        exact=figure.exact,
        info=None if BY_KEY.get(key) == info else info,
    )


def _numbers(column: object, values: Any) -> dict[str, float]:
    if not isinstance(values, Mapping) or not all(isinstance(value, Real) for value in values.values()):
        raise TypeError(f"rows gives {type(values).__name__} for {column}, not a number for every image")
    return {str(image): float(value) for image, value in values.items()}
