"""Distances between the images and what is decoded in their place, on features of EfficientNet-Lite0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from tokbench.bench.frechet import FeatureMoments, distance_of_moments
from tokbench.bench.kernel import kernel_distance, kernel_distances_without
from tokbench.bench.leave_out import distances_without
from tokbench.bench.metrics.frechet import MIN_IMAGES
from tokbench.bench.microbatch import in_micro_batches
from tokbench.bench.networks import FeatureNetwork, efficientnet_lite0
from tokbench.records.intervals import FEWEST_FOLDS, Interval, jackknife_interval

Measured = tuple[float, Interval | None]
"""A figure and its interval."""


class Judge:
    """A network that sees the images once, and then whatever is decoded in their place.

    Args:
        network: Whose features.
        images: Bytes ``[N, 3, H, W]``.
        groups: What each is a sample of.
        micro_batch: Images of a pass of the network.
        device: Where the network is.
    """

    def __init__(
        self,
        network: FeatureNetwork,
        images: Tensor,
        groups: Sequence[str],
        *,
        micro_batch: int,
        device: torch.device = torch.device("cpu"),  # noqa: B008  # a constant
    ) -> None:
        self.network, self.groups, self.micro_batch, self._device = network, tuple(groups), micro_batch, device
        self.before = self.features(images.split(micro_batch))

    @classmethod
    def on(cls, device: torch.device, images: Tensor, groups: Sequence[str], *, micro_batch: int) -> Judge:
        """Build it with the weights of the installed package, on a device.

        Raises:
            TokbenchError: If these are missing.
        """
        return cls(efficientnet_lite0(device), images, groups, micro_batch=micro_batch, device=device)

    @property
    def settings(self) -> dict[str, Any]:
        """What its distances depend on."""
        return {**self.network.settings, "reference": "the images", "micro_batch": self.micro_batch}

    def features(self, batches: Iterable[Tensor]) -> Float[ndarray, "n d"]:
        """Features of images that come in micro-batches; the last one is padded."""
        found = [in_micro_batches(self.network.features, batch.to(self._device), size=self.micro_batch).cpu().numpy() for batch in batches]
        return np.concatenate(found)

    def frechet(self, after: Float[ndarray, "n d"]) -> Measured | None:
        """Fréchet distance of the images to those of other features, with a jackknife over groups; None of fewer images than it needs."""
        if len(after) < MIN_IMAGES:
            return None
        sides = FeatureMoments(self.network.dim), FeatureMoments(self.network.dim)
        for moments, features in zip(sides, (self.before, after), strict=True):
            moments.update(features)
        value, names = distance_of_moments(*sides), sorted(set(self.groups))
        if len(names) < FEWEST_FOLDS or max(Counter(self.groups).values()) > len(after) - 2:
            return value, None
        estimates = distances_without(*sides, np.stack([self.before, after], axis=1), self.groups, value)
        return value, jackknife_interval(value, estimates, f"jackknife of {len(names)} groups")

    def kernel(self, after: Float[ndarray, "n d"]) -> Measured | None:
        """Kernel distance of the images to those of other features, with a jackknife over groups; None of one image."""
        if len(after) < 2:
            return None
        one, other, sizes = self.before.astype(np.float64), after.astype(np.float64), Counter(self.groups)
        if len(sizes) < FEWEST_FOLDS or max(sizes.values()) > len(after) - 2:
            return kernel_distance(one, other, paired=True), None
        value, without = kernel_distances_without(one, other, self.groups, paired=True)
        return value, jackknife_interval(value, without, f"jackknife of {len(sizes)} groups")
