"""Peak signal-to-noise ratio: the mean of the decibels of images, or as a protocol that repeats others averages it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.base import Figure, PerImageMetric, mean_without, sum_exactly
from tokbench.bench.observation import Observation
from tokbench.bench.psnr import doubles, psnr
from tokbench.names import Names
from tokbench.records.figures import figures_of
from tokbench.records.image_values import ImageValues
from tokbench.records.intervals import FEWEST_FOLDS, Interval, group_bootstrap
from tokbench.records.protocol import Protocol, get_protocol

__all__ = ["PSNR", "psnr"]

AVERAGING = {"images": "mean of per-image dB", "all pixels": "dB of the pooled error", "batches": "mean of dB of each batch's pooled error"}


class PSNR(PerImageMetric):
    """``10 log10(255^2 / MSE)`` of bytes; the error is averaged over an image's pixels and channels.

    Identical images have no decibels: they are counted, and the mean is that of the others. It is never below the decibels of their
    pooled error. A protocol may average otherwise; values of images stay the same.

    Args:
        protocol: Its ``psnr_...``, ``pixels`` and ``batch``; None is ``photos-64``.
    """

    name = "psnr"
    figures = figures_of(name)
    exact_value = math.inf
    peaks: list[Tensor]

    def __init__(self, protocol: Protocol | None = None) -> None:
        super().__init__()
        self.rules = protocol or get_protocol()
        self.pixels = self.rules.pixels
        if self.rules.psnr_range != "255":
            self.add_rows("peaks")

    @classmethod
    def create(cls, context: MetricContext) -> PSNR:
        """Build it as the protocol has it."""
        return cls(context.rules)

    @property
    def settings(self) -> dict[str, Any]:
        """Range and order of averaging."""
        rules = self.rules
        found: dict[str, Any] = {"data_range": 255, "averaging": AVERAGING[rules.psnr_averaging]}
        if rules.psnr_range != "255":
            found["data_range"] = rules.psnr_range
        if rules.psnr_averaging == "batches":
            found["batch"] = rules.batch
        if rules.psnr_ceiling is not None:
            found["ceiling_db"] = rules.psnr_ceiling
        if self.pixels != "bytes":
            found["pixels"] = self.pixels
        return found

    def per_image(self, observation: Observation) -> Tensor:
        """Decibels of each image, infinite where it came back exactly; no more than the ceiling, if there is one."""
        found = psnr(*observation.levels(self.pixels))
        return found if self.rules.psnr_ceiling is None else found.clamp_max(self.rules.psnr_ceiling)

    def update(self, observation: Observation) -> None:
        """Take one micro-batch in."""
        super().update(observation)
        if self.rules.psnr_range != "255":
            self.peaks.append(doubles(observation.levels(self.pixels)[0].flatten(1).amax(dim=1)))

    def report(self) -> dict[str, Figure]:
        """Return the figure and its interval over groups, or over batches."""
        if self.rules.psnr_averaging == "images":
            return super().report()
        decibels, numbers = self.in_order("values")
        errors = np.fromiter((10 ** (-value / 10) for value in decibels.data), np.float64, len(decibels))
        pooled = self.rules.psnr_averaging == "all pixels"
        found = self._pooled(errors, numbers) if pooled else self._batched(errors.tolist(), list(self._groups_in_order()))
        return {self.figures[0].key: found}

    def _groups_in_order(self) -> Sequence[str]:
        """The groups of the images seen, in the order of the listing."""
        seen, places = self.seen(), self.all_rows("images").numpy()
        return seen.groups if seen is self.listing else Names.of(seen.groups[place] for place in places.argsort().data)

    def _pooled(self, errors: np.ndarray, numbers: np.ndarray) -> Figure:
        """Decibels of the error of all images."""
        exact, error = int((errors == 0.0).sum()), sum_exactly(errors) / len(errors)
        if not error:
            return Figure(math.inf, exact=exact)
        peak = 255.0 if self.rules.psnr_range == "255" else float(self.all_rows("peaks").max())
        ends = group_bootstrap(errors, numbers)
        above = _decibels(peak / 255.0) * 2
        interval = None
        if ends is not None and ends.low > 0:
            interval = Interval(above - _decibels(ends.high), above - _decibels(ends.low), ends.method)
        without = mean_without(errors, self._groups_in_order())
        if without is not None:
            decibels = (above - _decibels(mean) for mean in without.values())
            without = ImageValues(without.ids, np.fromiter(decibels, np.float64, len(without)))
        return Figure(above - _decibels(error), interval, without=without)

    def _batched(self, errors: Sequence[float], groups: Sequence[str]) -> Figure:
        """Mean of the decibels of batches; those that came back exactly are counted, and left out."""
        size = self.rules.batch
        batches = [errors[start : start + size] for start in range(0, len(errors), size)]
        means = [sum_exactly(list(batch)) / len(batch) for batch in batches]
        values = [-_decibels(mean) for mean in means if mean]
        exact = sum(len(batch) for batch, mean in zip(batches, means, strict=True) if not mean)
        if not values:
            return Figure(math.inf, exact=exact)
        interval = group_bootstrap(values, [str(place) for place in range(len(values))])
        without = None if exact else _batches_without(errors, groups, size, values)
        return Figure(sum_exactly(values) / len(values), interval, exact=exact, without=without)


def _batches_without(errors: Sequence[float], groups: Sequence[str], size: int, decibels: Sequence[float]) -> dict[str, float] | None:
    """The mean of the decibels of batches without each group, where batches stay as they are but for its images."""
    places: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        places.setdefault(group, []).append(place)
    if len(places) < FEWEST_FOLDS:
        return None
    whole, found = math.fsum(decibels), {}
    for group, members in sorted(places.items()):
        left, total, count = set(members), whole, len(decibels)
        for batch in sorted({place // size for place in members}):
            rest = [errors[place] for place in range(batch * size, min(len(errors), (batch + 1) * size)) if place not in left]
            total, count = total - decibels[batch], count - (not rest)
            total += -_decibels(math.fsum(rest) / len(rest)) if rest else 0.0
        found[group] = total / count
    return found


def _decibels(ratio: float) -> float:
    return 10 * math.log10(ratio) if ratio > 0 else -math.inf
