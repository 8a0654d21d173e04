"""From bits of codes to the figures of a record, with intervals over groups of images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int64
from numpy import ndarray

from tokbench.feed.probe.counts import own_bits
from tokbench.layout import TokenLayout
from tokbench.records.intervals import Interval, group_bootstrap
from tokbench.records.record import MetricResult

Rows = dict[str, dict[str, float]]
"""Column to image id to value."""

BITS, DECIBELS = "bits", "dB"


class Figures:
    """Gathers figures, and the values per image behind them.

    Args:
        ids: Ids of the held-out images.
        groups: What each of them is a sample of.
        layout: Layout of their tokens.

    Attributes:
        results: By name.
        rows: Values per image, by name and id.
    """

    def __init__(self, ids: Sequence[str], groups: Sequence[str], layout: TokenLayout) -> None:
        self.ids, self.layout = tuple(ids), layout
        self.results: dict[str, MetricResult] = {}
        self.rows: Rows = {}
        self._group_of = dict(zip(ids, groups, strict=True))

    def per_image(self, name: str, values: Mapping[str, float], *, unit: str = BITS, settings: dict[str, Any] | None = None) -> None:
        """Add the mean of one value an image.

        Args:
            name: Name of the figure.
            values: By id; of all held-out images or some.
            unit: Unit of the values.
            settings: What they depend on.
        """
        self.rows[name] = dict(values)
        kept = {image: value for image, value in values.items() if unit != DECIBELS or value != math.inf}
        numbers, exact = list(kept.values()), len(values) - len(kept)
        mean = math.fsum(numbers) / len(numbers) if numbers else None
        interval = group_bootstrap(numbers, [self._group_of[image] for image in kept])
        self.results[name] = MetricResult(mean, unit, unit == DECIBELS, settings or {}, interval, exact=exact)

    def of_codes(self, name: str, bits: Float[ndarray, "n t"], *, settings: dict[str, Any] | None = None) -> None:
        """Add bits of codes: per image, and per token of every codebook.

        Args:
            name: Name of the figure per image.
            bits: Bits of every held-out image's codes, codebook last.
            settings: What they depend on.
        """
        exact = bits.astype(np.float64)
        self.per_image(name, dict(zip(self.ids, exact.sum(axis=1).tolist(), strict=True)), settings=settings)
        books = len(self.layout.codebook_sizes)
        if books > 1:
            by_book = tuple(float(exact[:, book::books].mean()) for book in range(books))
            result = self.results[name]
            self.results[name] = MetricResult(
                result.value, result.unit, result.higher_is_better, result.settings, result.interval, by_codebook=by_book
            )

    def constant(self, name: str, bits: float) -> None:
        """Add bits that are the same for every image, so that no other images would give another figure."""
        self.results[name] = MetricResult(bits, BITS, False, {})

    def own_entropy(self, name: str, codes: Int64[ndarray, "n l k"]) -> None:
        """Add bits of an image's codes by the frequencies of the codes of all held-out images.

        Args:
            name: Name of the figure.
            codes: Codes of every held-out image.
        """
        bits, interval = own_bits(codes, self.layout.codebook_sizes, [self._group_of[image] for image in self.ids])
        self.results[name] = MetricResult(bits, BITS, False, {"frequencies": "of the held-out codes themselves"}, interval)

    def derive(self, name: str, source: str, divisor: int, unit: str) -> None:
        """Add a figure that is another one divided, with its interval."""
        result = self.results[source]
        assert result.value is not None
        interval = result.interval
        if interval is not None:
            interval = type(interval)(interval.low / divisor, interval.high / divisor, interval.method)
        self.results[name] = MetricResult(result.value / divisor, unit, False, {"divisor": divisor}, interval)

    def gap(self, name: str, source: str, bits: Float[ndarray, "n t"], groups: Sequence[str]) -> None:
        """Add what held-out images take beyond others that were trained on; both are samples of their own.

        Args:
            name: Name of the figure.
            source: The figure of the held-out images.
            bits: Bits of the codes of the images trained on.
            groups: What each of these is a sample of.
        """
        result, sums = self.results[source], bits.astype(np.float64).sum(axis=1).tolist()
        assert result.value is not None
        trained, inner = math.fsum(sums) / len(sums), group_bootstrap(sums, groups)
        value, interval = result.value - trained, None
        if result.interval is not None and inner is not None:
            low = value - math.hypot(result.value - result.interval.low, inner.high - trained)
            high = value + math.hypot(result.interval.high - result.value, trained - inner.low)
            interval = Interval(low, high, f"{result.interval.method}; and of {len(set(groups))} groups trained on")
        settings = {"images_trained_on": len(sums), "bits_per_image_trained_on": trained}
        self.results[name] = MetricResult(value, BITS, False, settings, interval)
