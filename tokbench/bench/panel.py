"""The metrics of one run: created, fed and read together; one that fails is named, and the others finish."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tokbench.bench.chunks import Failure
from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.base import ByImage, Metric
from tokbench.bench.observation import Listing, Observation, Subject
from tokbench.bench.readout import class_of, create, identity_of_metric, is_ours, keys_of, read_metric, reason_of
from tokbench.bench.states import kept, put_back, taken
from tokbench.conduct import Misbehaved
from tokbench.errors import TokbenchError, brief, out_of_memory
from tokbench.records.image_values import ImageValues
from tokbench.records.record import CodebookUse, MetricResult
from tokbench.signals import Ended

logger = logging.getLogger(__name__)

TOGETHER = 1 << 20
"""Bytes up to which the rows of chunks are put together."""


class Panel:
    """Metrics that judge one tokenizer on one set of images, chunk by chunk.

    ``update`` and ``cut`` measure a chunk; ``merge`` takes in what came of one, whoever measured it, and ``finish`` reads all that was
    merged. Figures depend on the chunks and the order they are merged in alone.

    Args:
        classes: Classes of the metrics.
        subject: What is known before the first image.
        context: Where and with what they run.
        listing: All images of the run.

    Attributes:
        listing: All images of the run.
        failures: One line for every metric whose code failed, or that gave what is no figure.
    """

    def __init__(self, classes: Sequence[type[Metric]], subject: Subject, context: MetricContext, listing: Listing) -> None:
        """Create the metrics that apply."""
        self.failures: list[str] = []
        self.listing = listing
        self._results: dict[str, MetricResult] = {}
        self._active: list[Metric] = []
        for cls in classes:
            try:
                metric = self._attempt(cls, "create", lambda cls=cls: create(cls, context), may_refuse=True)  # type: ignore[misc]
                reason = None
            except TokbenchError as error:
                if isinstance(error, Misbehaved):
                    raise
                logger.info("%s is left out: %s", cls.name, error)
                metric, reason = None, str(error)
            if metric is not None:
                reason = self._attempt(cls, "not_applicable", lambda metric=metric: reason_of(metric, subject))  # type: ignore[misc]
            if reason is not None:
                self._without(cls if metric is None else metric, reason)
            elif metric is not None and not self._failed(cls):
                self._active.append(metric)
        for metric in self._active:
            if isinstance(metric, ByImage):
                metric.listing = listing  # what they merge they may not have measured
        self.names = tuple(metric.name for metric in self._active)
        self._measuring = list(self._active)
        self._broken: dict[str, Failure] = {}
        self._merged: dict[str, dict[str, Any]] = {}

    @property
    def identity(self) -> dict[str, Any]:
        """What figures depend on beside tokenizer, images and protocol: the metrics that apply, and what is set in them."""
        return {metric.name: identity_of_metric(metric) for metric in self._active}

    def update(self, observation: Observation) -> None:
        """Take one micro-batch of the chunk in; a metric of others sees copies of the images."""
        for metric in tuple(self._measuring):
            seen = observation if is_ours(type(metric)) else _copy(observation)
            self._measure(metric, "update", lambda metric=metric, seen=seen: metric.update(seen))  # type: ignore[misc]

    def cut(self) -> tuple[dict[str, Tensor], dict[str, Failure]]:
        """End a chunk.

        Returns:
            What metrics keep of it, by names of metric and state; and which failed in it or before it, and see no image any more.
        """
        states: dict[str, Tensor] = {}
        for metric in tuple(self._measuring):
            self._measure(metric, "settle", metric.settle)
        for metric in tuple(metric for metric in self._measuring if metric._defaults):
            found = self._measure(metric, "add_state", lambda metric=metric: taken(metric))  # type: ignore[misc]
            states |= {f"{metric.name}/{key}": value for key, value in (found or {}).items()}
        return states, dict(self._broken)

    def merge(self, states: Mapping[str, Tensor], failures: Mapping[str, Failure], *, own: bool) -> None:
        """Take in what came of the next chunk.

        Args:
            states: What ``cut`` gave.
            failures: What it gave beside them; a metric that failed in a chunk has no figure.
            own: Whether these very metrics measured it.
        """
        for metric in tuple(self._active):
            failure = failures.get(metric.name)
            if failure is not None:
                self._drop(metric, failure)
                continue
            if not metric._defaults:
                if not own:
                    self._drop(metric, Failure("merge", "it keeps no states (add_state), which other processes and resumed runs need"))
                continue  # what it has seen, it keeps in its own way
            mine = {key.partition("/")[2]: value for key, value in states.items() if key.partition("/")[0] == metric.name}
            self._attempt(metric, "merge", lambda metric=metric, mine=mine: self._take_in(metric, mine))  # type: ignore[misc]

    def _take_in(self, metric: Metric, states: Mapping[str, Tensor]) -> None:
        """Merge behind what was merged before; torchmetrics puts what comes in before what is there."""
        put_back(metric, states)
        before = self._merged.get(metric.name)
        metric._update_count = 1 if before is None else before["chunks"] + 1
        grown: dict[str, list[Tensor]] = {}
        if before is not None:
            if type(metric).merge_state is ByImage.merge_state:  # it puts lists behind each other, and would copy all that was merged
                grown = {name: value for name, value in before["states"].items() if isinstance(value, list)}
            metric.merge_state({**before["states"], **{name: [] for name in grown}})
        states = kept(metric)
        for name, rows in grown.items():
            rows += states[name]
            if isinstance(metric, ByImage) and name in metric.row_states:
                _gather(rows)
        self._merged[metric.name] = {"chunks": metric._update_count, "states": states | grown}
        metric.reset()

    def finish(
        self, measured: Subject, trained_with: Sequence[str]
    ) -> tuple[dict[str, MetricResult], dict[str, ImageValues], tuple[CodebookUse, ...]]:
        """Read the metrics.

        Args:
            measured: What was measured in the end; images may have been skipped.
            trained_with: Networks and data that the tokenizer's training used.

        Returns:
            Figures or reasons by key, per-image values by column and image, and how often codes occur.
        """
        rows: dict[str, ImageValues] = {}
        books: list[CodebookUse] = []
        for metric in tuple(self._active):
            for name, value in self._merged.pop(metric.name, {"states": {}})["states"].items():
                setattr(metric, name, value)
            found = self._attempt(metric, "finish", lambda metric=metric: read_metric(metric, measured, trained_with, self.listing))  # type: ignore[misc]
            if found is None:
                continue
            results, own_rows, own_books = found
            self._results |= results
            rows |= {column: values for column, values in own_rows.items() if column not in rows}
            books += own_books
        return dict(sorted(self._results.items())), rows, tuple(books)

    def leave(self) -> Mapping[str, Failure]:
        """Let metrics write their caches, where others read them.

        Returns:
            Which failed in this process, by then or now.
        """
        for metric in tuple(self._measuring):
            self._measure(metric, "finish", metric.finish)
        return dict(self._broken)

    def _measure(self, metric: Metric, what: str, action: Callable[[], Any]) -> Any:
        """Let a metric do something with a chunk; what one that fails keeps of it does not count, and None is returned."""
        try:
            return _guarded(action)
        except _Failed as failed:
            self._broken[metric.name] = Failure(what, failed.why)
            self._measuring = [other for other in self._measuring if other is not metric]
            return None

    def _attempt(self, metric: Metric | type[Metric], what: str, action: Callable[[], Any], *, may_refuse: bool = False) -> Any:
        """Let a metric do something; one that fails is left out from then on, and None returned."""
        try:
            return _guarded(action, may_refuse=may_refuse)
        except _Failed as failed:
            self._drop(metric, Failure(what, failed.why))
            return None

    def _drop(self, metric: Metric | type[Metric], failure: Failure) -> None:
        cls = class_of(metric)
        self.failures.append(failure.line(cls.name))
        self._without(metric, f"it failed in {failure.what} ({failure.why})")
        self._active = [other for other in self._active if type(other) is not cls]

    def _without(self, metric: Metric | type[Metric], reason: str) -> None:
        self._results |= {key: MetricResult(reason=reason) for key in keys_of(metric)}

    def _failed(self, cls: type[Metric]) -> bool:
        return all(key in self._results for key in cls.figure_names())


def _gather(rows: list[Tensor]) -> None:
    """Put the last tensors of a list together up to some size, so that of very many small ones few are left.

    Each would keep the memory about it, in which chunks come and go, from being used again.
    """
    while len(rows) > 1 and len(rows[-2]) < 2 * len(rows[-1]) and rows[-2].nbytes + rows[-1].nbytes <= TOGETHER:
        rows[-2:] = [torch.cat(rows[-2:])]


class _Failed(Exception):
    """The code of a metric failed."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def _guarded(action: Callable[[], Any], *, may_refuse: bool = False) -> Any:
    """Let the code of a metric do something.

    Raises:
        _Failed: If it raises anything but an interrupt, running out of memory, and what the tokenizer did wrong while it was asked.
    """
    try:
        return action()
    except (KeyboardInterrupt, Ended, MemoryError, torch.OutOfMemoryError, Misbehaved):
        raise
    except BaseException as error:  # code of others: it may raise anything, and even end the process
        if out_of_memory(error):
            raise
        if may_refuse and isinstance(error, TokbenchError):
            raise
        logger.debug("a metric fails", exc_info=True)
        raise _Failed(str(error) if isinstance(error, TokbenchError) else brief(error)) from error


def _copy(observation: Observation) -> Observation:
    """An observation whose images may be written to."""
    return replace(
        observation,
        reference=observation.reference.clone(),
        reconstruction=observation.reconstruction.clone(),
        reencode=lambda: observation.again,
        shared={} if observation.bytes_are else observation.shared,
        restored=None if observation.restored is None else observation.restored.clone(),
        read=None if observation.read is None else observation.read.clone(),
        bytes_are="",
    )
