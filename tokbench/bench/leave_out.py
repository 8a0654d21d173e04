"""Fréchet distances without each group of images, exactly, in less time than three distances take.

Without the images of a group, both covariances change by as many outer products as it has images, and by what their means move. Let
``S1 = F F^T``, and let ``U`` and ``v`` be the eigenvectors and eigenvalues of ``F^T S2 F``. The images left out have the coordinates
``a = U^T F^+ (x - m1)`` and ``b = U^T F^T (y - m2)``. By ``2 pi sqrt(v) = integral of log(1 + v/t) / sqrt(t)`` over ``t > 0``, what
the trace of the square root loses is an integral over

    log det [[1 - a w a^T, -sqrt(t) a r b^T], [sqrt(t) b r a^T, 1 - b r b^T]],    r = 1 / (v + t),  w = v r,

a determinant of twice as many rows as the group has images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import scipy.linalg

from tokbench.bench.frechet import FeatureMoments, covariance_factor, product_of_covariances

LOWEST, HIGHEST, STEP = -34, 12, 1.25
"""Range of ``log t`` about the largest eigenvalue. The rule of equal weights is exact to seven digits there; below and above, the
determinant changes no more, or as ``1 / t``, and the series of what is left out has a sum."""

MOST_TOGETHER = 24
"""Images of a group left out at once. Of a larger group parts are left out, and what they change is added: exact but for what two parts
change together, when each weighs what it does among the images that are left without the group."""

NOTHING = 1e-200
"""Largest eigenvalue below which there is no root to lose anything of, as where all images of a side are the same."""

IMAGES, ROWS = 512, 2048
"""Images, and products of their coordinates, held at once."""


def distances_without(
    before: FeatureMoments, after: FeatureMoments, pairs: np.ndarray, groups: Sequence[str], distance: float
) -> np.ndarray:
    """Fréchet distances without each group.

    Args:
        before: All originals.
        after: All reconstructions.
        pairs: Features of originals and reconstructions of some images, ``[m, 2, dim]``: whole groups. They are all images, in their order,
            where the moments still hold the samples.
        groups: The group of each of these images.
        distance: The distance of all images.

    Returns:
        A distance for every group of ``groups``, in the order of their names, ``[g]``.

    Raises:
        ValueError: If there are too few images to leave out a group.
    """
    count, names = before.count, sorted(set(groups))
    sizes, parts = Counter(groups), _parts(groups)
    if max(sizes.values()) > count - 2:
        raise ValueError(f"{count} images without a group of {max(sizes.values())} are too few for a covariance")
    (mean1, total1), (mean2, total2) = _mean_and_trace(before), _mean_and_trace(after)
    if np.array_equal(pairs[:, 0], pairs[:, 1]) and np.array_equal(mean1, mean2) and total1 == total2:
        return np.zeros(len(names))  # exact reconstructions, with any images left out
    values, coordinates = _coordinates(before, after)
    whole = ((mean1 - mean2) ** 2).sum() + total1 + total2 - distance  # twice the trace of the root
    changes = dict.fromkeys(names, 0.0)
    for equal in _batches(parts):
        rest = count - equal.shape[1]
        x, y = (_flat(pairs[equal, side]) - mean for side, mean in enumerate((mean1, mean2)))
        shape = (*equal.shape, -1)
        means = mean1 - mean2 - (x - y).reshape(shape).sum(axis=1) / rest
        sides = (x, y, *coordinates(equal.ravel(), x, y))
        x, y, a, b = (_about_the_mean_of_the_rest(rows.reshape(shape), rest) for rows in sides)
        lost = ((x**2).sum(axis=(1, 2)) + (y**2).sum(axis=(1, 2))) / (count - 1)
        roots = whole + 2 * _change_of_trace(values, a, b, count)
        without = (means**2).sum(axis=1) + (total1 + total2 - lost - roots) * ((count - 1) / (rest - 1))
        for part, found in zip(equal, without, strict=True):
            group = groups[part[0]]
            changes[group] += (found - distance) * rest / (count - sizes[group])
    return distance + np.array([changes[name] for name in names])


def distances_to_reference_without(
    reference: FeatureMoments, seen: FeatureMoments, features: np.ndarray, groups: Sequence[str], distance: float
) -> np.ndarray:
    """Fréchet distances to a reference that stays as it is, without each group of the other side.

    Args:
        reference: What stays.
        seen: All images of the other side.
        features: Features of some of them, ``[m, dim]``: whole groups.
        groups: The group of each of these images.
        distance: The distance of all images.

    Returns:
        A distance for every group of ``groups``, in the order of their names, ``[g]``.

    Raises:
        ValueError: If there are too few images to leave out a group.
    """
    count, names, sizes = seen.count, sorted(set(groups)), Counter(groups)
    if max(sizes.values()) > count - 2:
        raise ValueError(f"{count} images without a group of {max(sizes.values())} are too few for a covariance")
    (mean1, factor1), (mean2, factor2) = reference.factor(), seen.factor()
    total1, total2 = float((factor1**2).sum()), float((factor2**2).sum())
    cross = factor1.T @ factor2
    values, vectors = _eigen(cross @ cross.T)
    onto = factor1 @ vectors
    whole = ((mean1 - mean2) ** 2).sum() + total1 + total2 - distance  # twice the trace of the root
    changes = dict.fromkeys(names, 0.0)
    for equal in _batches(_parts(groups)):
        rest, shape = count - equal.shape[1], (*equal.shape, -1)
        y = _flat(features[equal]) - mean2
        means = mean1 - mean2 + y.reshape(shape).sum(axis=1) / rest
        y, b = (_about_the_mean_of_the_rest(rows.reshape(shape), rest) for rows in (y, y @ onto))
        scale = (count - 1) / (rest - 1)  # of one covariance, so that the root has the root of it
        roots = whole + 2 * _change_of_trace(values, np.zeros_like(b), b, count)
        left = (total2 - (y**2).sum(axis=(1, 2)) / (count - 1)) * scale
        without = (means**2).sum(axis=1) + total1 + left - roots * np.sqrt(scale)
        for part, found in zip(equal, without, strict=True):
            group = groups[part[0]]
            changes[group] += (found - distance) * rest / (count - sizes[group])
    return distance + np.array([changes[name] for name in names])


def _parts(groups: Sequence[str]) -> list[np.ndarray]:
    """Places of the images of each group, dealt into parts of at most ``MOST_TOGETHER``."""
    places: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        places.setdefault(group, []).append(place)
    return [part for members in places.values() for part in np.array_split(members, -(-len(members) // MOST_TOGETHER))]


def _batches(parts: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Places of parts of one size, ``[g, k]``, of so many images that their coordinates take little memory."""
    for size in sorted({len(part) for part in parts}):
        equal = np.array([part for part in parts if len(part) == size])
        yield from np.array_split(equal, -(-equal.size // IMAGES))


def _flat(rows: np.ndarray) -> np.ndarray:
    """``[g, k, dim]`` as ``[g k, dim]``, in double precision."""
    return rows.reshape(-1, rows.shape[-1]).astype(np.float64)


def _mean_and_trace(moments: FeatureMoments) -> tuple[np.ndarray, float]:
    samples = moments.samples()
    if samples is None:
        mean, covariance = moments.covariance()
        return mean, float(np.trace(covariance))
    mean = samples.mean(axis=0)
    return mean, float(((samples - mean) ** 2).sum() / (len(samples) - 1))


Coordinates = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def _coordinates(before: FeatureMoments, after: FeatureMoments) -> tuple[np.ndarray, Coordinates]:
    """Eigenvalues ``[r]``, and what gives coordinates ``[m, r]`` of both sides of images, as the module describes them.

    It takes the places of the images and their features about the means.
    """
    one, other = before.samples(), after.samples()
    if one is not None and other is not None:
        products = (one - one.mean(axis=0)) @ (other - other.mean(axis=0)).T / (len(one) - 1)
        values, vectors = _eigen(products @ products.T)
        scale = np.sqrt(len(one) - 1)
        a, b = (vectors - vectors.mean(axis=0)) * scale, products.T @ vectors * scale
        return values, lambda places, x, y: (a[places], b[places])
    cov1, cov2 = before.covariance()[1], after.covariance()[1]
    try:
        factor = scipy.linalg.cholesky(cov1, lower=True)
        values, vectors = _eigen(product_of_covariances(factor, cov2))
        inverse = scipy.linalg.solve_triangular(factor, vectors, lower=True, trans=1)
    except scipy.linalg.LinAlgError:
        factor = covariance_factor(cov1)
        values, vectors = _eigen(factor.T @ cov2 @ factor)
        inverse = factor / (factor**2).sum(axis=0) @ vectors
    onto = factor @ vectors
    return values, lambda places, x, y: (x @ inverse, y @ onto)


def _eigen(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, vectors = np.linalg.eigh(matrix)
    return np.maximum(values, 0.0), vectors


def _about_the_mean_of_the_rest(rows: np.ndarray, rest: int) -> np.ndarray:
    """Rows ``[g, k, r]`` whose outer products are what the scatter loses without them, the mean of the rest having moved."""
    size = rows.shape[1]
    moved: np.ndarray = rows + rows.sum(axis=1, keepdims=True) * ((np.sqrt(1 + size / rest) - 1) / size)
    return moved


def _change_of_trace(values: np.ndarray, a: np.ndarray, b: np.ndarray, count: int) -> np.ndarray:
    """What the trace of the root gains without each part, before the covariances are scaled to fewer images: ``[g]``, not above 0."""
    if values[-1] < NOTHING:
        return np.zeros(len(a))
    nodes, weights = _quadrature(values[-1])
    by_node = 1 / (values[:, None] + nodes)
    size = a.shape[1]
    changes = np.empty(len(a))
    step = max(1, ROWS // size**2)
    for start in range(0, len(a), step):
        one, other = a[start : start + step], b[start : start + step]
        blocks = np.empty((len(one), len(nodes), 2 * size, 2 * size))
        free = np.eye(size) - one @ one.transpose(0, 2, 1) / (count - 1)
        blocks[..., :size, :size] = free[:, None] + _forms(one, one, by_node * nodes, count)
        blocks[..., size:, size:] = np.eye(size) - _forms(other, other, by_node, count)
        mixed = _forms(one, other, by_node * np.sqrt(nodes), count)
        blocks[..., :size, size:], blocks[..., size:, :size] = -mixed, mixed.swapaxes(2, 3)
        logarithms = np.linalg.slogdet(blocks)[1]
        changes[start : start + step] = np.maximum(logarithms, np.log(np.finfo(np.float64).tiny)) @ weights
    return changes


def _quadrature(largest: float) -> tuple[np.ndarray, np.ndarray]:
    """Places ``t`` and weights of the integral over ``dt / (2 pi sqrt(t))``."""
    nodes = max(largest, np.finfo(np.float64).tiny) * np.exp(np.arange(LOWEST, HIGHEST, STEP))
    weights = np.sqrt(nodes) * STEP / (2 * np.pi)
    weights[[0, -1]] /= 1 - np.exp(-STEP / 2)
    return nodes, weights


def _forms(one: np.ndarray, other: np.ndarray, by_node: np.ndarray, count: int) -> np.ndarray:
    """``one diag(by_node) other^T`` of every part and node, ``[g, nodes, k, k]``; of a side with itself half of the products do."""
    parts, size, _ = one.shape
    i, j = np.triu_indices(size) if one is other else np.indices((size, size)).reshape(2, -1)
    products = one.take(i, axis=1)
    products *= other.take(j, axis=1)
    found = (products.reshape(parts * len(i), -1) @ by_node).reshape(parts, len(i), -1).transpose(0, 2, 1) / (count - 1)
    forms = np.empty((parts, by_node.shape[1], size, size))
    forms[..., i, j] = found
    if one is other:
        forms[..., j, i] = found
    return forms
