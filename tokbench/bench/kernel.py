"""Kernel distance between two sets of features: the squared maximum mean discrepancy, estimated without bias.

    mean k(x, x') + mean k(y, y') - 2 mean k(x, y),   k(x, y) = (x . y / d + 1)^3

Pairs of a sample with itself are left out, so that the expected value depends on no number of samples. It may come out below 0.

Source: Binkowski et al. 2018, "Demystifying MMD GANs" (KID); Gretton et al. 2012, "A Kernel Two-Sample Test", lemma 6.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BLOCK = 1024
"""Rows and columns of the matrix of kernel values that are held at once."""


def kernel_distance(one: np.ndarray, other: np.ndarray, *, paired: bool = False) -> float:
    """Kernel distance of two sets of samples, over all pairs.

    Args:
        one: ``[n, d]``, at least 2 samples.
        other: ``[m, d]``, at least 2 samples.
        paired: Whether each sample of one set was made from the same place of the other, as reconstructions are. Those pairs are
            left out as well: they are alike beyond what the two distributions are, and would draw the estimate below 0.

    Returns:
        The distance; exactly 0 for a set paired with itself.

    Raises:
        ValueError: If there are fewer samples, they are not of one dimension, or paired sets differ in number.
    """
    _check(one, other, paired)
    within, within_other, between, _ = (float(rows.sum()) for rows in _sums(one, other, paired))
    return _distance((within, within_other, between), len(one), len(other), paired)


def kernel_distances_without(
    one: np.ndarray, other: np.ndarray, groups: Sequence[str], *, paired: bool = False
) -> tuple[float, np.ndarray]:
    """Kernel distance of two sets of samples of the same places, and exactly what it is without each group.

    The matrices of kernel values are gone through once: without a group, their sums lack its rows and its columns.

    Args:
        one: ``[n, d]``.
        other: ``[n, d]``, samples of the same places.
        groups: The group of each place.
        paired: See ``kernel_distance``.

    Returns:
        The distance, and that without each group, in the order of their names, ``[g]``.

    Raises:
        ValueError: If sets differ in number, or without a group there are fewer than 2 samples.
    """
    _check(one, other, True)
    places: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        places.setdefault(group, []).append(place)
    if max(map(len, places.values())) > len(one) - 2:
        raise ValueError(f"{len(one)} samples without a group of {max(map(len, places.values()))} are too few for a kernel distance")
    rows = _sums(one, other, paired)
    totals = (rows[0].sum(), rows[1].sum(), rows[2].sum())
    without = []
    for name in sorted(places):
        of = places[name]
        first, second, across, back = (side[of].sum() for side in rows)
        inner = [side.sum() for side in _sums(one[of], other[of], paired)[:3]]
        left = (totals[0] - 2 * first + inner[0], totals[1] - 2 * second + inner[1], totals[2] - across - back + inner[2])
        without.append(_distance(left, len(one) - len(of), len(one) - len(of), paired))
    return _distance(totals, len(one), len(one), paired), np.array(without)


def _check(one: np.ndarray, other: np.ndarray, paired: bool) -> None:
    if min(len(one), len(other)) < 2 or one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1]:
        raise ValueError(f"a kernel distance needs two sets of at least 2 samples of one dimension, got {one.shape} and {other.shape}")
    if paired and len(one) != len(other):
        raise ValueError(f"paired sets have as many samples, got {len(one)} and {len(other)}")


def _distance(sums: tuple[float, float, float], n: int, m: int, paired: bool) -> float:
    """The distance from the sums of the kernel over pairs: within each set, and between them."""
    within, within_other, between = sums
    return within / (n * (n - 1)) + within_other / (m * (m - 1)) - 2 * between / (n * (n - 1) if paired else n * m)


def _sums(one: np.ndarray, other: np.ndarray, paired: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sums of the kernel over the partners of each sample: within each set, from the first to the other, and back."""
    across, back = _margins(one, other)
    if paired:
        same = _matched(one, other)
        across, back = across - same, back - same
    return _margins(one, one)[0] - _matched(one, one), _margins(other, other)[0] - _matched(other, other), across, back


def _margins(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums over the rows and over the columns of the kernel's matrix, ``[n]`` and ``[m]``."""
    rows, columns = np.zeros(len(one)), np.zeros(len(other))
    for i in range(0, len(one), BLOCK):
        left = np.asarray(one[i : i + BLOCK], dtype=np.float64)
        for j in range(0, len(other), BLOCK):
            values = _kernel(left @ np.asarray(other[j : j + BLOCK], dtype=np.float64).T, one.shape[1])
            rows[i : i + BLOCK] += values.sum(axis=1)
            columns[j : j + BLOCK] += values.sum(axis=0)
    return rows, columns


def _matched(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The kernel over samples of the same place, ``[n]``."""
    return _kernel(np.einsum("nd,nd->n", one, other, dtype=np.float64), one.shape[1])


def _kernel(products: np.ndarray, dim: int) -> np.ndarray:
    found: np.ndarray = (products / dim + 1) ** 3
    return found
