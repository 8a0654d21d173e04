"""How two sets of features overlap, by the balls that reach from each sample to its k-th nearest neighbour in its own set.

    precision   share of reconstructions in a ball of an original           Kynkaanniemi et al. 2019, "Improved Precision and Recall
    recall      share of originals in a ball of a reconstruction            Metric for Assessing Generative Models"
    density     balls of originals that a reconstruction is in, over k      Naeem et al. 2020, "Reliable Fidelity and Diversity
    coverage    share of originals with a reconstruction in their ball      Metrics for Generative Models"

The first two count what lies on a ball's border as within, the others do not, as their authors have it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

BLOCK = 256
"""Rows of the matrix of distances that are held at once."""


@dataclass(frozen=True)
class Overlap:
    """One value an image, whose means are the figures.

    Args:
        precision: Whether a reconstruction is in a ball of an original, ``[m]``.
        recall: Whether an original is in a ball of a reconstruction, ``[n]``.
        density: Balls of originals that a reconstruction is in, over k, ``[m]``.
        coverage: Whether a reconstruction is in the ball of an original, ``[n]``.
    """

    precision: np.ndarray
    recall: np.ndarray
    density: np.ndarray
    coverage: np.ndarray


def overlap(before: np.ndarray, after: np.ndarray, *, near: int, wide: int) -> Overlap:
    """Find how features of reconstructions overlap with those of originals.

    Args:
        before: Features of originals, ``[n, d]``.
        after: Features of reconstructions, ``[m, d]``.
        near: k of precision and recall.
        wide: k of density and coverage.

    Raises:
        ValueError: If a set has no more samples than neighbours are asked for, or they are not of one dimension.
    """
    if before.ndim != 2 or after.ndim != 2 or before.shape[1] != after.shape[1]:
        raise ValueError(f"overlap is of two sets of samples of one dimension, got {before.shape} and {after.shape}")
    if min(len(before), len(after)) <= max(near, wide) or min(near, wide) < 1:
        raise ValueError(f"{min(len(before), len(after))} samples have no neighbours number {near} and {wide}")
    before, after = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    near_before, wide_before = _radii(before, near, wide)
    near_after, _ = _radii(after, near, near)
    precision, density = np.empty(len(after)), np.empty(len(after))
    recall, coverage = np.empty(len(before)), np.empty(len(before))
    for rows, distances in _squared_distances(after, before):
        precision[rows] = (distances <= near_before).any(axis=1)
        density[rows] = (distances < wide_before).sum(axis=1) / wide
    for rows, distances in _squared_distances(before, after):
        recall[rows] = (distances <= near_after).any(axis=1)
        coverage[rows] = distances.min(axis=1) < wide_before[rows]
    return Overlap(precision, recall, density, coverage)


def _radii(samples: np.ndarray, near: int, wide: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances of each sample to its neighbours of two numbers, itself not counted."""
    found = np.empty((2, len(samples)))
    for rows, distances in _squared_distances(samples, samples):
        distances[np.arange(len(distances)), np.arange(rows.start, rows.stop)] = np.inf
        places = sorted({near - 1, wide - 1})
        distances.partition(places, axis=1)
        found[:, rows] = distances[:, near - 1], distances[:, wide - 1]
    return found[0], found[1]


def _squared_distances(one: np.ndarray, other: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Squared distances of all pairs, some rows at a time; never below 0."""
    squares = np.einsum("nd,nd->n", other, other)
    for start in range(0, len(one), BLOCK):
        rows = slice(start, min(start + BLOCK, len(one)))
        part = one[rows]
        distances = part @ other.T
        distances *= -2
        distances += np.einsum("nd,nd->n", part, part)[:, None]
        distances += squares
        yield rows, np.maximum(distances, 0, out=distances)
