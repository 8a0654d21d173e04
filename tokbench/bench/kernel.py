"""Kernel distance between two sets of features: the squared maximum mean discrepancy, estimated without bias.

    mean k(x, x') + mean k(y, y') - 2 mean k(x, y),   k(x, y) = (x . y / d + 1)^3

Pairs of a sample with itself are left out, so that the expected value depends on no number of samples. It may come out below 0.

Source: Binkowski et al. 2018, "Demystifying MMD GANs" (KID); Gretton et al. 2012, "A Kernel Two-Sample Test", lemma 6.
"""

from __future__ import annotations

import numpy as np

BLOCK = 1024
"""Rows of the matrix of kernel values that are held at once."""


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
    if min(len(one), len(other)) < 2 or one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1]:
        raise ValueError(f"a kernel distance needs two sets of at least 2 samples of one dimension, got {one.shape} and {other.shape}")
    if paired and len(one) != len(other):
        raise ValueError(f"paired sets have as many samples, got {len(one)} and {len(other)}")
    one, other = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    n, m = len(one), len(other)
    within = (_sum(one, one) - _matched(one, one)) / (n * (n - 1)) + (_sum(other, other) - _matched(other, other)) / (m * (m - 1))
    between = (_sum(one, other) - _matched(one, other)) / (n * (n - 1)) if paired else _sum(one, other) / (n * m)
    return within - 2 * between


def _sum(one: np.ndarray, other: np.ndarray) -> float:
    """Sum of the kernel over all pairs."""
    return float(sum(_kernel(one[start : start + BLOCK] @ other.T, one.shape[1]).sum() for start in range(0, len(one), BLOCK)))


def _matched(one: np.ndarray, other: np.ndarray) -> float:
    """Sum of the kernel over samples of the same place."""
    return float(_kernel(np.einsum("nd,nd->n", one, other), one.shape[1]).sum())


def _kernel(products: np.ndarray, dim: int) -> np.ndarray:
    found: np.ndarray = (products / dim + 1) ** 3
    return found
