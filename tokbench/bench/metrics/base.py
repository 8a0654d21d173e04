"""The contract of a metric: fed observation by observation, independent of their size and order, mergeable."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from tokbench.bench.context import MetricContext
from tokbench.bench.observation import Listing, Observation, Subject
from tokbench.bench.psnr import doubles
from tokbench.bench.torchmetric import Metric as TorchMetric
from tokbench.configs import canonical_json
from tokbench.names import Names
from tokbench.records.figure_info import FigureInfo
from tokbench.records.image_values import ImageValues
from tokbench.records.intervals import FEWEST_FOLDS, Interval, group_bootstrap
from tokbench.records.left_out import Part
from tokbench.records.protocol import Pixels
from tokbench.records.record import CodebookUse


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Args:
        value: The number, in the unit of its row; infinite where that is the answer.
        interval: Where repeated samples of the groups would put it, if that was estimated.
        by_codebook: The same number for every codebook, where there are several.
        exact: Images that came back exactly, where these have no number: ``value`` is that of the others, infinite if there are none.
        without: Group to the number without its part of the images, of a figure of the whole set. Differences on the same images are
            judged by it. Where parts are clusters, it is name of the cluster to the number.
        part: What is left out at once, see ``tokbench.records.left_out``.
    """

    value: float
    interval: Interval | None = None
    by_codebook: tuple[float, ...] | None = None
    exact: int = 0
    without: Mapping[str, float] | None = None
    part: Part = "group"


class Metric(TorchMetric):
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

    def settle(self) -> None:
        """Called after the last image of every chunk: what ``update`` left on a device may be fetched now, and is waited for once."""

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

    def rows(self) -> Mapping[str, Mapping[str, float]]:
        """Per-image values: column to image id to value; empty if the metric has none."""
        return {}

    def codebooks(self) -> tuple[CodebookUse, ...]:
        """How often codes occur, per codebook; empty if the metric does not count them."""
        return ()

    def merge_state(self, incoming_state: dict[str, Any] | TorchMetric) -> None:
        """Take in what another instance has seen of other images.

        Raises:
            ValueError: If it is of another kind.
        """
        if isinstance(incoming_state, TorchMetric) and type(incoming_state) is not type(self):
            raise ValueError(f"{type(self).__name__} merges with its own kind only")
        if isinstance(incoming_state, Metric):
            incoming_state.settle()
        super().merge_state(incoming_state)
        self._computed = None  # of before
        if isinstance(incoming_state, TorchMetric):
            self._update_count += incoming_state._update_count


class ByImage(Metric):
    """A metric that keeps something of every image. Which image it is, it keeps as a place in the listing of the run.

    Whatever it keeps are states of torchmetrics, so that parts are merged, synchronized and pickled as all its metrics are.

    Attributes:
        listing: All images of the run; None before the first.
        images: Places of the images seen, micro-batch by micro-batch.
    """

    listing: Listing | None
    images: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.listing = None
        self._empty: dict[str, Tensor] = {}
        self.add_rows("images", dtype=torch.int64)

    def add_rows(self, name: str, *shape: int, dtype: torch.dtype = torch.float64) -> None:
        """Add a state: a list that grows by a tensor ``[n, *shape]``.

        Args:
            name: Name of the attribute.
            shape: Shape of a row.
            dtype: Dtype of its numbers.
        """
        self.add_state(name, default=[], dist_reduce_fx="cat")
        self._empty[name] = torch.empty(0, *shape, dtype=dtype)

    @property
    def row_states(self) -> Collection[str]:
        """Names of the states that are lists of rows."""
        return self._empty

    def all_rows(self, name: str) -> Tensor:
        """One tensor of all rows of a state, whatever became of its list on the way."""
        rows, empty = getattr(self, name), self._empty[name]
        parts = [part.cpu() for part in ([rows] if isinstance(rows, Tensor) else rows)]
        return parts[0] if len(parts) == 1 and parts[0].dtype == empty.dtype else torch.cat([empty, *parts])

    def note(self, observation: Observation) -> None:
        """Keep which images these are."""
        self.listing = observation.listing
        self.images.append(torch.tensor(observation.places, dtype=torch.int64))

    def seen(self) -> Listing:
        """The images seen, in the order of the rows."""
        assert self.listing is not None  # or nothing was seen
        places = self.all_rows("images").numpy()
        if np.array_equal(places, np.arange(len(self.listing.ids))):
            return self.listing
        ids = Names.of(self.listing.ids[place] for place in places.data)
        if self.listing.groups is self.listing.ids:
            return Listing(ids, ids)
        return Listing(ids, Names.of(self.listing.groups[place] for place in places.data))

    def in_order(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The rows of a state and the numbers of their images' groups (``Listing.numbers``), both in the order of the listing."""
        assert self.listing is not None  # or nothing was seen
        rows, places = self.all_rows(name).numpy(), self.all_rows("images").numpy()
        if (places[1:] < places[:-1]).any():
            order = places.argsort(kind="stable")
            rows, places = rows[order], places[order]
        return rows, self.listing.numbers[places]

    def by_image(self, name: str) -> ImageValues:
        """The numbers of a state as a column of rows."""
        assert self.listing is not None  # or nothing was seen
        return ImageValues.at(self.listing.names, self.all_rows("images").numpy(), self.all_rows(name).numpy())

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather the states of all processes; one that has no rows of a kind sends none, of their shape."""
        for name, empty in self._empty.items():
            if isinstance(getattr(self, name), list):
                setattr(self, name, [part.cpu() for part in getattr(self, name)] or [empty])
        super().sync(*args, **kwargs)

    def merge_state(self, incoming_state: dict[str, Any] | TorchMetric) -> None:
        """Take in what another instance has seen of other images of the same run.

        Raises:
            ValueError: If it is of another kind, or has another listing.
        """
        other = incoming_state.listing if isinstance(incoming_state, ByImage) else None
        if other is not None and self.listing is not None and other != self.listing:
            raise ValueError(f"{type(self).__name__} merges parts of one run only; these are of two listings of images")
        super().merge_state(incoming_state)
        self.listing = self.listing or other


class PerImageMetric(ByImage):
    """A metric whose first figure is the mean of one value an image. Subclasses write ``per_image``.

    Values are kept in float64 by image, so neither batch size nor order can change the mean.

    Attributes:
        exact_value: Value of an image that came back exactly, where no mean can hold it. Such images are counted, and left out of mean
            and interval. None where every value can be averaged.
        pixels: What it sees of a reconstruction, see ``Observation.pair``.
    """

    exact_value: ClassVar[float | None] = None
    pixels: Pixels = "bytes"
    values: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_rows("values")

    @abstractmethod
    def per_image(self, observation: Observation) -> Tensor:
        """Return one value an image, ``[B]``."""

    def update(self, observation: Observation) -> None:
        """Take one micro-batch in. Of protocols that are measured together, those to whom the images are the same have one value."""
        self.values.append(self._shared_values(observation) if observation.bytes_are else doubles(self.per_image(observation)))
        self.note(observation)

    def _shared_values(self, observation: Observation) -> Tensor:
        """The values, and in ``self`` whatever ``per_image`` keeps beside them, as the first of those protocols computed both."""
        key = canonical_json([self.name, self.settings, observation.seen(self.pixels)])
        if key not in observation.shared:
            before = {name: len(getattr(self, name)) for name in self._empty}
            values = doubles(self.per_image(observation))
            observation.shared[key] = values, {name: getattr(self, name)[count:] for name, count in before.items()}
            return values
        found: tuple[Tensor, dict[str, list[Tensor]]] = observation.shared[key]
        for name, rows in found[1].items():
            getattr(self, name).extend(rows)
        return found[0]

    def report(self) -> dict[str, Figure]:
        """Return the mean and its interval over groups."""
        everything, all_groups = self.in_order("values")
        kept = np.ones(len(everything), bool) if self.exact_value is None else everything != self.exact_value
        values, groups = everything[kept], all_groups[kept]
        exact, key = len(everything) - len(values), self.figures[0].key
        if exact and not len(values):
            return {key: Figure(float(everything[0]), exact=exact)}
        return {key: Figure(sum_exactly(values) / len(values), group_bootstrap(values, groups), exact=exact)}

    def rows(self) -> Mapping[str, Mapping[str, float]]:
        """One column, named like the figure."""
        return {self.figures[0].key: self.by_image("values")}


def mean_without(values: Sequence[float] | np.ndarray, groups: Sequence[str]) -> ImageValues | None:
    """What a mean of values of images is without each group, as ``Figure.without`` has it.

    Args:
        values: One an image, finite.
        groups: The group of each.

    Returns:
        Group to the mean of the others; None with fewer than five groups.
    """
    named = Names.of(groups)
    numbers = named.ranks
    sums, counts = np.bincount(numbers, weights=np.asarray(values, dtype=np.float64)), np.bincount(numbers)
    if len(counts) < FEWEST_FOLDS:
        return None
    first = np.unique(numbers, return_index=True)[1]
    return ImageValues(Names.of(named[place] for place in first.data), (sums.sum() - sums) / (len(values) - counts))


def sum_exactly(values: Sequence[float] | np.ndarray) -> float:
    """Sum without rounding on the way (infinities allowed)."""
    numbers = np.asarray(values, dtype=np.float64)
    one_by_one = numbers.data
    return math.fsum(one_by_one) if np.isfinite(numbers).all() else sum(one_by_one)
