"""From values of images to the figures of a record, with intervals over groups of images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from tokbench.bench.readout import judged
from tokbench.conduct import Misbehaved
from tokbench.records.figure_info import FigureInfo
from tokbench.records.intervals import Interval, group_bootstrap
from tokbench.records.prediction_figures import BY_KEY, keys_of_study
from tokbench.records.record import MetricResult


class NotApplicable(Exception):
    """A study has no figures of this tokenizer or these images; its text says why."""


class Results:
    """Gathers figures, and the values per image behind them.

    Args:
        trained_with: Networks and data of the tokenizer's training, so that figures these networks judge are marked.

    Attributes:
        figures: Figures by key.
        rows: Values per image, by key and id.
        failures: What the tokenizer did wrong on the way, each once.
    """

    def __init__(self, trained_with: Sequence[str] = ()) -> None:
        self.figures: dict[str, MetricResult] = {}
        self.rows: dict[str, dict[str, float]] = {}
        self.failures: list[str] = []
        self._trained_with = tuple(trained_with)

    def per_image(self, key: str, values: Float[ndarray, " n"], ids: Sequence[str], groups: Sequence[str], **settings: Any) -> None:
        """Add the mean of one value an image.

        Args:
            key: Key of the figure.
            values: One for each image.
            ids: Ids of the images.
            groups: What each is a sample of.
            settings: What the figure depends on.
        """
        numbers = values.tolist()
        self.rows[key] = dict(zip(ids, numbers, strict=True))
        self.figures[key] = self._result(BY_KEY[key], math.fsum(numbers) / len(numbers), group_bootstrap(numbers, groups), settings)

    def of_set(self, key: str, value: float, interval: Interval | None = None, **settings: Any) -> None:
        """Add a figure of all images together."""
        self.figures[key] = self._result(BY_KEY[key], float(value), interval, settings)

    def lacking(self, study: str, reason: Callable[[str], str]) -> None:
        """Say why figures of a study are not there, by key; those that are stay."""
        for key in keys_of_study(study):
            self.figures.setdefault(key, MetricResult(reason=reason(key)))

    def fail(self, failure: Misbehaved) -> str:
        """Note what the tokenizer did wrong, which is the reason of figures; others are still measured."""
        reason = str(failure)
        if reason not in self.failures:
            self.failures.append(reason)
        return reason

    def _result(self, info: FigureInfo, value: float, interval: Interval | None, settings: dict[str, Any]) -> MetricResult:
        if not np.isfinite(value):
            return MetricResult(reason=f"the figure is {value}, which no record can hold")
        return MetricResult(
            value=value,
            unit=info.unit,
            higher_is_better=info.higher_is_better,
            settings=settings,
            interval=interval,
            judged_by_training_network=judged(info.networks, self._trained_with),
        )
