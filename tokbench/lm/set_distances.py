"""How far drawn images are from real ones, beside how far those are from each other, and how near the nearest training image is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from tokbench.bench.frechet import frechet_distance, sample_factor
from tokbench.bench.kernel import kernel_distance
from tokbench.bench.microbatch import in_micro_batches
from tokbench.bench.networks import FeatureNetwork
from tokbench.records.intervals import Interval, group_jackknife

MICRO_BATCH = 16
"""Images a pass of the network that judges."""

FEWEST = 128
"""Images below which a Fréchet distance says more about their number."""


@dataclass(frozen=True)
class Distance:
    """A distance between two sets of images.

    Args:
        value: The distance; None where there are too few images.
        interval: Where it would lie for other images of the first set.
    """

    value: float | None
    interval: Interval | None


def features_of(images: UInt8[Tensor, "b 3 h w"], network: FeatureNetwork) -> np.ndarray:
    """Features of images, ``[b, d]`` in float64."""
    found: np.ndarray = in_micro_batches(network.features, images, size=MICRO_BATCH).double().cpu().numpy()
    return found


def kernel(one: np.ndarray, other: np.ndarray, groups: Sequence[str] | None = None) -> Distance:
    """Kernel distance of two sets that were made independently.

    Args:
        one: Features ``[n, d]``, over whose images the interval is.
        other: Features ``[m, d]``.
        groups: What each of the images of ``one`` is a sample of; None takes each for itself.
    """
    return _with_interval(one, lambda some: kernel_distance(some, other), groups)


def frechet(one: np.ndarray, other: np.ndarray, groups: Sequence[str] | None = None) -> Distance:
    """Fréchet distance of two sets; arguments are those of ``kernel``."""
    if min(len(one), len(other)) < FEWEST:
        return Distance(None, None)
    factors = sample_factor(other)
    return _with_interval(one, lambda some: frechet_distance(*sample_factor(some), *factors), groups)


def _with_interval(one: np.ndarray, distance: Callable[[np.ndarray], float], groups: Sequence[str] | None) -> Distance:
    value = distance(one)
    apart = groups or [f"{place:06d}" for place in range(len(one))]
    return Distance(value, group_jackknife(value, lambda keep: distance(one[keep]), apart))


def nearest(images: np.ndarray, others: np.ndarray) -> list[float]:
    """How far each image is from the nearest of others, as one minus the cosine of their features: 0 is the same direction.

    Args:
        images: Features ``[n, d]``.
        others: Features ``[m, d]``.
    """
    one, other = (torch.nn.functional.normalize(torch.from_numpy(some), dim=1) for some in (images, others))
    return [float(value) for value in 1 - (one @ other.T).amax(dim=1)]
