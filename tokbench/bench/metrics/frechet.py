"""What the Fréchet distances share: features or their moments, the distance and its interval."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torchmetrics
from torch import Tensor

from tokbench.bench.cache import FeatureCache
from tokbench.bench.frechet import FeatureMoments, frechet_distance, sample_factor
from tokbench.bench.metrics.base import Figure
from tokbench.bench.metrics.features import FeatureMetric
from tokbench.bench.networks import FeatureNetwork
from tokbench.bench.observation import Observation, Subject
from tokbench.records.intervals import Interval, group_jackknife

MIN_IMAGES = 128
"""Below this many images the distance says more about their number than about the tokenizer."""


class FrechetMetric(FeatureMetric):
    """Fréchet distance between the features of originals and reconstructions.

    Args:
        network: Whose features.
        cache: Cache of the originals' features; None computes them anew.
        micro_batch: Images a network pass.

    Attributes:
        features: Features of originals and reconstructions, ``[n, 2, dim]``, until there are more images than features.
        counts: Images that the moments are of, ``[m]``; there is more than one row only after parts were merged.
        means: Means of the features of both sides, ``[m, 2, dim]``.
        scatters: Sums of outer products about the means, ``[m, 2, dim, dim]``.
    """

    features: list[Tensor]
    counts: list[Tensor]
    means: list[Tensor]
    scatters: list[Tensor]

    def __init__(self, network: FeatureNetwork, cache: FeatureCache | None, *, micro_batch: int) -> None:
        super().__init__(network, cache, micro_batch=micro_batch)
        self.add_rows("features", 2, network.dim, dtype=torch.float32)
        self.add_rows("counts", dtype=torch.int64)
        self.add_rows("means", 2, network.dim)
        self.add_rows("scatters", 2, network.dim, network.dim)

    @property
    def settings(self) -> dict[str, Any]:
        """The network's settings, and how the distance is computed."""
        return super().settings | {"covariance": "ddof 1, float64"}

    def not_applicable(self, subject: Subject) -> str | None:
        """Few images give no meaningful covariance."""
        if subject.images < MIN_IMAGES:
            return f"{subject.images} images; a Fréchet distance needs at least {MIN_IMAGES}"
        return None

    def update(self, observation: Observation) -> None:
        """Take one micro-batch in."""
        self.features.append(self.pairs(observation))
        self.note(observation)
        if sum(map(len, self.features)) > self.network.dim:
            self._condense()

    def merge_state(self, incoming_state: dict[str, Any] | torchmetrics.Metric) -> None:
        """Take in what another instance has seen; memory stops growing here too.

        Raises:
            ValueError: If it is of another kind or network, or has another listing.
        """
        super().merge_state(incoming_state)
        if len(self.all_rows("images")) > self.network.dim:
            self._condense()

    def report(self) -> dict[str, Figure]:
        """Return the distance; with an interval if the images are few enough to keep the features themselves."""
        features = self.all_rows("features").double().numpy()
        if len(self.all_rows("counts")) or len(features) > self.network.dim:
            before, after = self._moments()
            value, interval = frechet_distance(*before.factor(), *after.factor()), None
        else:
            order, groups = self.all_rows("images").argsort().numpy(), self.seen().groups
            value, interval = _distance_and_interval(features[order, 0], features[order, 1], [groups[i] for i in order])
        return {self.figures[0].key: Figure(value, interval)}

    def _moments(self) -> tuple[FeatureMoments, FeatureMoments]:
        """Originals and reconstructions seen: what was condensed, in order, and then what was not."""
        counts, means, scatters, features = (self.all_rows(name) for name in ("counts", "means", "scatters", "features"))
        sides = FeatureMoments(self.network.dim), FeatureMoments(self.network.dim)
        for side, moments in enumerate(sides):
            for count, mean, scatter in zip(counts.tolist(), means[:, side].numpy(), scatters[:, side].numpy(), strict=True):
                moments.combine(count, mean, scatter)
            moments.update(features[:, side].numpy())
        return sides

    def _condense(self) -> None:
        """Keep moments in the place of features: they stop growing with the images."""
        both = [moments.condensed() for moments in self._moments()]
        self.counts = [torch.tensor([both[0][0]])]
        self.means = [torch.from_numpy(np.stack([mean for _, mean, _ in both]))[None]]
        self.scatters = [torch.from_numpy(np.stack([scatter for _, _, scatter in both]))[None]]
        self.features, self.images = [], []


def _distance_and_interval(reference: np.ndarray, reconstruction: np.ndarray, groups: list[str]) -> tuple[float, Interval | None]:
    def distance(keep: np.ndarray) -> float:
        return frechet_distance(*sample_factor(reference[keep]), *sample_factor(reconstruction[keep]))

    value = distance(np.ones(len(reference), dtype=bool))
    return value, group_jackknife(value, distance, groups)
