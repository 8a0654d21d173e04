"""What the Fréchet distances share: features or their moments, the distance and its interval."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from heapq import nsmallest
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from tokbench.bench.cache import FeatureCache
from tokbench.bench.frechet import FeatureMoments, distance_of_moments
from tokbench.bench.leave_out import distances_without
from tokbench.bench.metrics.base import Figure
from tokbench.bench.metrics.features import FeatureMetric
from tokbench.bench.networks import FeatureNetwork
from tokbench.bench.observation import Listing, Observation, Subject
from tokbench.bench.torchmetric import Metric as TorchMetric
from tokbench.counting import counted
from tokbench.records.intervals import FEWEST_FOLDS, Interval, jackknife_interval

MIN_IMAGES = 128
"""Below this many images the distance says more about their number than about the tokenizer."""

KEPT = 2048
"""Images at most whose features are kept for the interval, once there are more than features."""


class FrechetMetric(FeatureMetric):
    """Fréchet distance between the features of originals and reconstructions.

    Args:
        network: Whose features.
        cache: Cache of the originals' features; None computes them anew.
        micro_batch: Images a network pass.

    Attributes:
        sides: 2, originals and reconstructions; 1 where reconstructions are compared with something else.
        companion: Metric that takes the same distance to a reference; empty if there is none.
        features: Features of originals and reconstructions, ``[n, 2, dim]``, until there are more images than features.
        counts: Images that the moments are of, ``[m]``; there is more than one row only after parts were merged.
        means: Means of the features of both sides, ``[m, 2, dim]``.
        scatters: Sums of outer products about the means, ``[m, 2, dim, dim]``.
        kept: Features of the images that the interval is taken over, of those in the moments, ``[k, 2, dim]``.
        kept_images: Places of these images in the listing.
    """

    sides: ClassVar[int] = 2
    companion: ClassVar[str] = ""
    features: list[Tensor]
    kept: list[Tensor]
    kept_images: list[Tensor]
    counts: list[Tensor]
    means: list[Tensor]
    scatters: list[Tensor]

    def __init__(self, network: FeatureNetwork, cache: FeatureCache | None, *, micro_batch: int) -> None:
        super().__init__(network, cache, micro_batch=micro_batch)
        self.add_rows("features", self.sides, network.dim, dtype=torch.float32)
        self.add_rows("counts", dtype=torch.int64)
        self.add_rows("means", self.sides, network.dim)
        self.add_rows("scatters", self.sides, network.dim, network.dim)
        self.add_rows("kept", self.sides, network.dim, dtype=torch.float32)
        self.add_rows("kept_images", dtype=torch.int64)

    @property
    def settings(self) -> dict[str, Any]:
        """The network's settings, and how the distance is computed."""
        return super().settings | {"covariance": "ddof 1, float64"}

    def not_applicable(self, subject: Subject) -> str | None:
        """Few images give no meaningful covariance."""
        if subject.images < MIN_IMAGES:
            return f"{counted(subject.images, 'image')}; a Fréchet distance needs at least {MIN_IMAGES}"
        return None

    def update(self, observation: Observation) -> None:
        """Take one micro-batch in."""
        self.features.append(self.seen_of(observation))
        self.note(observation)
        if sum(map(len, self.features)) > self.network.dim:
            self._condense()

    def seen_of(self, observation: Observation) -> Tensor:
        """Features that are kept of each image, ``[b, sides, dim]``."""
        return self.pairs(observation)

    def merge_state(self, incoming_state: dict[str, Any] | TorchMetric) -> None:
        """Take in what another instance has seen; memory stops growing here too.

        Raises:
            ValueError: If it is of another kind or network, or has another listing.
        """
        super().merge_state(incoming_state)
        if len(self.all_rows("counts")) > 1 or len(self.all_rows("images")) > self.network.dim:
            self._condense()

    def report(self) -> dict[str, Figure]:
        """Return the distance and its interval over groups: over all, or over those that were chosen where images are many."""
        order = self.all_rows("images").argsort()
        before, after = self._moments(order)
        value = distance_of_moments(before, after)
        interval, without = self._interval(value, after, lambda pairs, groups: distances_without(before, after, pairs, groups, value))
        return {self.figures[0].key: Figure(value, interval, without=without)}

    def _interval(
        self, value: float, seen: FeatureMoments, leave_out: Callable[[np.ndarray, list[str]], np.ndarray]
    ) -> tuple[Interval | None, dict[str, float] | None]:
        """The interval, and the distances without each group that it is made of.

        Args:
            value: The distance.
            seen: All reconstructions.
            leave_out: Gives the distances without each group, from features ``[m, sides, dim]`` and their groups.
        """
        places = torch.cat([self.all_rows("kept_images"), self.all_rows("images")])
        pairs = torch.cat([self.all_rows("kept"), self.all_rows("features")])
        if self.listing is None:
            return None, None
        chosen = None if seen.samples() is not None else _chosen(self.listing)
        own = [self.listing.groups[place] for place in places.tolist()]
        rows = [row for row in places.argsort().tolist() if chosen is None or own[row] in chosen]
        groups = [own[row] for row in rows]
        names = len(set(groups))
        if names < FEWEST_FOLDS:
            return None, None
        estimates = leave_out(pairs[rows].numpy(), groups)
        method = f"jackknife of {names} groups" if len(rows) == seen.count else f"jackknife of {names} groups chosen by digest"
        without = dict(zip(sorted(set(groups)), estimates.tolist(), strict=True))
        return jackknife_interval(value, estimates, method, count=round(names * seen.count / len(rows))), without

    def _moments(self, order: Tensor | None = None) -> list[FeatureMoments]:
        """The sides as seen: what was condensed, in order, and then what was not."""
        counts, means, scatters, features = (self.all_rows(name) for name in ("counts", "means", "scatters", "features"))
        if order is not None:
            features = features[order]
        sides = [FeatureMoments(self.network.dim) for _ in range(self.sides)]
        for side, moments in enumerate(sides):
            for count, mean, scatter in zip(counts.tolist(), means[:, side].numpy(), scatters[:, side].numpy(), strict=True):
                moments.combine(count, mean, scatter)
            moments.update(features[:, side].numpy())
        return sides

    def _condense(self) -> None:
        """Keep moments in the place of features: they stop growing with the images. So do the features that are kept beside them."""
        both = [moments.condensed() for moments in self._moments()]
        assert self.listing is not None  # or nothing was seen
        chosen, images = _chosen(self.listing), self.all_rows("images")
        rows = [row for row, place in enumerate(images.tolist()) if self.listing.groups[place] in chosen]
        self.kept.append(self.all_rows("features")[rows])
        self.kept_images.append(images[rows])
        self.counts = [torch.tensor([both[0][0]])]
        self.means = [torch.from_numpy(np.stack([mean for _, mean, _ in both]))[None]]
        self.scatters = [torch.from_numpy(np.stack([scatter for _, _, scatter in both]))[None]]
        self.features, self.images = [], []


@lru_cache(maxsize=4)
def _chosen(listing: Listing) -> frozenset[str]:
    """Groups whose images are kept: in the order of their digests, as long as ``KEPT`` images hold them."""
    sizes, firsts = np.bincount(listing.numbers), np.unique(listing.numbers, return_index=True)[1]
    named = ((listing.groups[place], sizes[number]) for number, place in enumerate(firsts.data))
    chosen, images = set(), 0
    for group, size in nsmallest(KEPT + 1, named, key=lambda one: hashlib.sha256(one[0].encode()).digest()):
        images += size
        if images > KEPT:
            break
        chosen.add(group)
    return frozenset(chosen)
