"""The contract of a metric: fed observation by observation, independent of their size and order, mergeable."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torchmetrics
from torch import Tensor

from tokbench.bench.context import MetricContext
from tokbench.bench.observation import Observation, Subject
from tokbench.records.figures import FigureInfo
from tokbench.records.intervals import Interval, group_bootstrap
from tokbench.records.record import CodebookUse


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Args:
        value: The number, in the unit of its row; infinite where that is the answer.
        interval: Where repeated samples of the groups would put it, if that was estimated.
        by_codebook: The same number for every codebook, where there are several.
        exact: Images that came back exactly, where these have no number: ``value`` is that of the others, infinite if there are none.
    """

    value: float
    interval: Interval | None = None
    by_codebook: tuple[float, ...] | None = None
    exact: int = 0


class Metric(torchmetrics.Metric):
    """One file, one metric. Subclasses set the class attributes and write ``update`` and ``report``.

    Attributes:
        name: What ``--metrics`` takes.
        figures: The row of each of its figures, the one that leads first. A metric of this package has them in
            ``tokbench.records.figures``, one of others brings its own.
    """

    name: str
    figures: tuple[FigureInfo, ...] = ()
    full_state_update = False

    @classmethod
    def create(cls, context: MetricContext) -> Metric:
        """Build the metric.

        Args:
            context: Device, caches and files.

        Raises:
            TokbenchError: If a network it needs is not here; the record then holds the message as its reason.
        """
        return cls()

    def finish(self) -> None:
        """Called once after the last image."""

    @property
    def settings(self) -> dict[str, Any]:
        """What the figure depends on, recorded with it."""
        return {}

    @classmethod
    def figure_names(cls) -> tuple[str, ...]:
        """Keys of its figures."""
        return tuple(info.key for info in cls.figures)

    def not_applicable(self, subject: Subject) -> str | None:
        """Say why there can be no figure for this tokenizer or this data; None if there can."""
        return None

    @abstractmethod
    def update(self, observation: Observation) -> None:
        """Take one micro-batch in."""

    @abstractmethod
    def report(self) -> Mapping[str, Figure]:
        """Return the figures by key, with their intervals."""

    def compute(self) -> dict[str, float]:
        """Return the numbers alone."""
        return {key: figure.value for key, figure in self.report().items()}

    def rows(self) -> dict[str, dict[str, float]]:
        """Per-image values: column to image id to value; empty if the metric has none."""
        return {}

    def codebooks(self) -> tuple[CodebookUse, ...]:
        """How often codes occur, per codebook; empty if the metric does not count them."""
        return ()


class PerImageMetric(Metric):
    """A metric whose first figure is the mean of one value an image. Subclasses write ``per_image``.

    Values are kept in float64 by image, so neither batch size nor order can change the mean.

    Attributes:
        exact_value: Of an image that came back exactly, where no mean can hold it: such images are counted, and left out of mean and
            interval; None where every value can be averaged.
    """

    exact_value: ClassVar[float | None] = None
    values: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("values", default=[], dist_reduce_fx="cat")
        self._ids: list[str] = []
        self._groups: list[str] = []

    @abstractmethod
    def per_image(self, observation: Observation) -> Tensor:
        """Return one value an image, ``[B]``."""

    def update(self, observation: Observation) -> None:
        """Take one micro-batch in."""
        self.values.append(self.per_image(observation).double().cpu())
        self._ids += observation.ids
        self._groups += observation.groups

    def report(self) -> dict[str, Figure]:
        """Return the mean and its interval over groups."""
        everything, all_groups = self._sorted()
        kept = [(value, group) for value, group in zip(everything, all_groups, strict=True) if value != self.exact_value]
        values, groups = [value for value, _ in kept], [group for _, group in kept]
        exact = len(everything) - len(values)
        key = self.figures[0].key
        if exact and not values:
            return {key: Figure(everything[0], exact=exact)}
        return {key: Figure(sum_exactly(values) / len(values), group_bootstrap(values, groups), exact=exact)}

    def rows(self) -> dict[str, dict[str, float]]:
        """One column, named like the figure."""
        return {self.figures[0].key: dict(zip(self._ids, torch.cat(self.values).tolist(), strict=True))}

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._ids, self._groups = [], []

    def merge_state(self, incoming_state: dict[str, Any] | torchmetrics.Metric) -> None:
        """Take in what another instance has seen of other images."""
        if not isinstance(incoming_state, PerImageMetric) or type(incoming_state) is not type(self):
            raise ValueError(f"{type(self).__name__} merges with its own kind only")
        self.values.extend(incoming_state.values)
        self._ids += incoming_state._ids
        self._groups += incoming_state._groups
        self._update_count += incoming_state._update_count

    def _sorted(self) -> tuple[list[float], list[str]]:
        values = torch.cat(self.values).tolist()
        order = sorted(range(len(values)), key=self._ids.__getitem__)
        return [values[i] for i in order], [self._groups[i] for i in order]


def sum_exactly(values: list[float]) -> float:
    """Sum without rounding on the way (infinities allowed)."""
    return math.fsum(values) if all(map(math.isfinite, values)) else sum(values)
