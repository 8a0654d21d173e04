"""What the Fréchet distances share: features of both sides, references from the cache, the distance and its interval."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torchmetrics
from torch import Tensor

from tokbench.bench.cache import FeatureCache
from tokbench.bench.frechet import FeatureMoments, frechet_distance, sample_factor
from tokbench.bench.metrics.base import Figure, Metric
from tokbench.bench.microbatch import in_micro_batches
from tokbench.bench.networks import FeatureNetwork
from tokbench.bench.observation import Observation, Subject
from tokbench.records.intervals import Interval, group_jackknife

MIN_IMAGES = 128
"""Below this many images the distance says more about their number than about the tokenizer."""


class FrechetMetric(Metric):
    """Fréchet distance between the features of originals and reconstructions.

    Args:
        network: Whose features.
        cache: Of the originals' features; None computes them anew.
        micro_batch: Images a network pass.
    """

    def __init__(self, network: FeatureNetwork, cache: FeatureCache | None, *, micro_batch: int) -> None:
        super().__init__()
        self.network, self.cache, self.micro_batch = network, cache, micro_batch
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._moments = (FeatureMoments(self.network.dim), FeatureMoments(self.network.dim))
        self._ids: list[str] = []
        self._groups: list[str] = []

    @property
    def settings(self) -> dict[str, Any]:
        """The network's settings, and how the distance is computed."""
        return self.network.settings | {"reference": "the same images", "covariance": "ddof 1, float64", "micro_batch": self.micro_batch}

    def not_applicable(self, subject: Subject) -> str | None:
        """Few images give no meaningful covariance."""
        if subject.images < MIN_IMAGES:
            return f"{subject.images} images; a Fréchet distance needs at least {MIN_IMAGES}"
        return None

    def update(self, observation: Observation) -> None:
        """Take one micro-batch in."""
        self._moments[0].update(self._reference_features(observation))
        self._moments[1].update(self._features(observation.reconstruction))
        self._ids += observation.ids
        self._groups += observation.groups

    def report(self) -> dict[str, Figure]:
        """Return the distance; with an interval as long as the features themselves are in memory."""
        reference, reconstruction = (moments.samples() for moments in self._moments)
        if reference is None or reconstruction is None:
            value, interval = frechet_distance(*self._moments[0].factor(), *self._moments[1].factor()), None
        else:
            order = sorted(range(len(self._ids)), key=self._ids.__getitem__)
            value, interval = _distance_and_interval(reference[order], reconstruction[order], [self._groups[i] for i in order])
        return {self.figures[0].key: Figure(value, interval)}

    def merge_state(self, incoming_state: dict[str, Any] | torchmetrics.Metric) -> None:
        """Take in what another instance has seen of other images."""
        if not isinstance(incoming_state, FrechetMetric) or incoming_state.network.settings != self.network.settings:
            raise ValueError(f"{type(self).__name__} merges with its own kind and network only")
        for own, other in zip(self._moments, incoming_state._moments, strict=True):
            own.merge(other)
        self._ids += incoming_state._ids
        self._groups += incoming_state._groups
        self._update_count += incoming_state._update_count

    def finish(self) -> None:
        """Write the cache."""
        if self.cache is not None:
            self.cache.flush()

    def _features(self, images: Tensor) -> np.ndarray:
        return in_micro_batches(self.network.features, images, size=self.micro_batch).cpu().numpy()

    def _reference_features(self, observation: Observation) -> np.ndarray:
        cache = self.cache
        if cache is None:
            return self._features(observation.reference)
        found = {i: row for i, key in enumerate(observation.keys) if (row := cache.get(key)) is not None}
        missing = [i for i in range(len(observation)) if i not in found]
        if missing:
            for i, row in zip(missing, self._features(observation.reference[torch.tensor(missing)]), strict=True):
                cache.put(observation.keys[i], row)
                found[i] = row
        return np.stack([found[i] for i in range(len(observation))])


def _distance_and_interval(reference: np.ndarray, reconstruction: np.ndarray, groups: list[str]) -> tuple[float, Interval | None]:
    def distance(keep: np.ndarray) -> float:
        return frechet_distance(*sample_factor(reference[keep]), *sample_factor(reconstruction[keep]))

    value = distance(np.ones(len(reference), dtype=bool))
    return value, group_jackknife(value, distance, groups)
