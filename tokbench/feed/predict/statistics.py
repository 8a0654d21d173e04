"""Statistics of latents: what a model that generates them has to bring to unit variance, and what it finds hard.

Mean, root mean square, deviation, skewness and range of every channel, and the correlations between channels. Of codes they are those of
their vectors. Deviations divide by the number of values, as the statistics of an export do. A range has no interval: it is made of extremes,
which no drawing of the same images again can widen as others would.

Source: mean, rms and std of latents are those that DC-AE's evaluation prints (dc-ai-projects/DC-Gen). Skewness is Fisher's: the third moment
over the cube of the deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from tokbench.feed.predict.results import Results
from tokbench.records.intervals import group_jackknife
from tokbench.records.prediction_record import Channel

MOST_CHANNELS = 64
"""Channels up to which a record holds every correlation."""

TOGETHER = 1 << 24
"""Values held at once in double precision."""


@dataclass(frozen=True)
class Sums:
    """Sums over vectors, about a point that lies near their mean, so that no digits are lost.

    Args:
        count: Vectors.
        first: Sum of the values of each channel, ``[C]``.
        second: Sums of products of two channels, ``[C, C]``.
        third: Sum of the cubes of each channel, ``[C]``.
    """

    count: int
    first: Float[ndarray, " c"]
    second: Float[ndarray, "c c"]
    third: Float[ndarray, " c"]

    @classmethod
    def of(cls, vectors: Float[ndarray, "n l c"], point: Float[ndarray, " c"]) -> Sums:
        """Add vectors up, about a point."""
        channels = vectors.shape[2]
        total = cls(0, np.zeros(channels), np.zeros((channels, channels)), np.zeros(channels))
        images = max(1, TOGETHER // (vectors.shape[1] * channels))
        for start in range(0, len(vectors), images):
            part = vectors[start : start + images].reshape(-1, channels).astype(np.float64) - point
            total += cls(len(part), part.sum(axis=0), part.T @ part, (part**3).sum(axis=0))
        return total

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.count + other.count, self.first + other.first, self.second + other.second, self.third + other.third)

    def __sub__(self, other: Sums) -> Sums:
        return Sums(self.count - other.count, self.first - other.first, self.second - other.second, self.third - other.third)

    def figures(self, point: Float[ndarray, " c"]) -> dict[str, float]:
        """The figures of all channels together."""
        mean, covariance, skew = self.moments()
        square = np.diagonal(covariance) + (mean + point) ** 2
        apart = correlations(covariance)[~np.eye(len(mean), dtype=bool)]
        return {
            "latent_mean": float((mean + point).mean()),
            "latent_rms": float(np.sqrt(square.mean())),
            "latent_std": float(np.sqrt(np.diagonal(covariance).mean())),
            "latent_skew": float(np.abs(skew).mean()),
            "latent_correlation": float(np.abs(apart).mean()) if len(apart) else 0.0,
        }

    def moments(self) -> tuple[ndarray, ndarray, ndarray]:
        """Mean about the point ``[C]``, covariance ``[C, C]`` and skewness ``[C]``; that of a channel that never changes is 0."""
        mean, second, third = self.first / self.count, self.second / self.count, self.third / self.count
        covariance = second - np.outer(mean, mean)
        variance = np.maximum(np.diagonal(covariance), 0)
        cubed = third - 3 * mean * np.diagonal(second) + 2 * mean**3
        alive = variance > 1e-12 * np.maximum(np.diagonal(second), 1e-300)
        return mean, covariance, np.where(alive, cubed / np.where(alive, variance, 1) ** 1.5, 0.0)


def correlations(covariance: Float[ndarray, "c c"]) -> Float[ndarray, "c c"]:
    """Correlations between channels; those of a channel that never changes are 0, its own is 1."""
    deviation = np.sqrt(np.maximum(np.diagonal(covariance), 0))
    scale = np.outer(deviation, deviation)
    found = np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 0)
    np.fill_diagonal(found, 1.0)
    return np.clip(found, -1, 1)


def measure_statistics(
    vectors: Float[Tensor, "b l c"], groups: Sequence[str], results: Results
) -> tuple[tuple[Channel, ...], tuple[tuple[float, ...], ...]]:
    """Add the figures of all channels together, with a jackknife over groups.

    Args:
        vectors: Latents, or vectors of codes.
        groups: What each image is a sample of.
        results: Where figures go.

    Returns:
        Every channel, and the correlations between them; none of more than ``MOST_CHANNELS``.
    """
    values = vectors.numpy()
    point = values.reshape(-1, values.shape[2]).mean(axis=0, dtype=np.float64)
    whole = Sums.of(values, point)
    left: dict[bytes, dict[str, float]] = {}

    def without(key: str, keep: np.ndarray) -> float:
        name = keep.tobytes()
        if name not in left:
            left[name] = (whole - Sums.of(values[~keep], point)).figures(point)
        return left[name][key]

    for key, value in whole.figures(point).items():
        results.of_set(key, value, group_jackknife(value, partial(without, key), groups), deviations="over the number of values")
    low, high = values.min(axis=(0, 1)), values.max(axis=(0, 1))
    results.of_set("latent_range", float((high.astype(np.float64) - low).mean()))
    mean, covariance, skew = whole.moments()
    variance = np.maximum(np.diagonal(covariance), 0)
    columns = (mean + point, np.sqrt(variance + (mean + point) ** 2), np.sqrt(variance), skew, low, high)
    channels = tuple(Channel(*map(float, row)) for row in zip(*columns, strict=True))
    few = len(channels) <= MOST_CHANNELS
    return channels, tuple(map(tuple, correlations(covariance).tolist())) if few else ()
