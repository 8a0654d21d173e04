"""Fréchet distance between feature distributions, from what is known of both: samples, or their condensed moments.

    |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)

With ``S = F F^T`` the last trace is the sum of the singular values of ``F1^T F2``. Singular values keep the digits that
square roots of eigenvalues lose, also when there are fewer samples than features. Where both covariances are conditioned so
well that nothing is lost, the eigenvalues of ``L^T S2 L`` take less time, ``L`` being the Cholesky factor of ``S1``.

Source: Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule" (FID).
"""

from __future__ import annotations

import numpy as np
import scipy.linalg

TOLERANCE = 1e-10
"""Share of a distance that square roots of eigenvalues may be off by, by a bound they seldom come near; else singular values are taken."""


class FeatureMoments:
    """Mean and covariance of a stream of features, in memory that stops growing once samples exceed features.

    Args:
        dim: Number of features.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._pending: list[np.ndarray] = []  # samples not yet condensed
        self._condensed = 0  # samples that are
        self._mean = np.zeros(dim)
        self._scatter = np.zeros((0, 0))  # sum of outer products about the mean

    @classmethod
    def of(cls, mean: np.ndarray, covariance: np.ndarray) -> FeatureMoments:
        """Moments that are known without samples.

        Args:
            mean: ``[dim]``.
            covariance: ``[dim, dim]`` (ddof 1).
        """
        moments = cls(len(mean))
        moments.combine(2, mean, covariance)  # as of two samples: their scatter is their covariance
        return moments

    @property
    def count(self) -> int:
        """Samples seen."""
        return self._condensed + sum(map(len, self._pending))

    def update(self, features: np.ndarray) -> None:
        """Take in samples ``[N, dim]``."""
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise ValueError(f"features must be [N, {self.dim}], got {features.shape}")
        if len(features):
            self._pending.append(np.asarray(features, dtype=np.float64))
        if sum(map(len, self._pending)) > self.dim:
            self._condense()

    def merge(self, other: FeatureMoments) -> None:
        """Take in what another instance has seen."""
        if other._condensed:
            self.combine(other._condensed, other._mean, other._scatter)
        for chunk in other._pending:
            self.update(chunk)

    def samples(self) -> np.ndarray | None:
        """The samples seen ``[N, dim]``, as long as none has been condensed; None after that."""
        return None if self._condensed else np.concatenate(self._pending)

    def factor(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean ``[dim]`` and ``F`` ``[dim, r]`` with ``F F^T`` the covariance (ddof 1)."""
        if not self._condensed:
            return sample_factor(np.concatenate(self._pending))
        if self._pending:
            self._condense()
        return self._mean, covariance_factor(self._scatter / (self._condensed - 1))

    def covariance(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean ``[dim]`` and the covariance ``[dim, dim]`` (ddof 1); samples are condensed."""
        count, mean, scatter = self.condensed()
        if count < 2:
            raise ValueError(f"a covariance needs at least 2 samples, got {count}")
        return mean, scatter / (count - 1)

    def _condense(self) -> None:
        samples = np.concatenate(self._pending)
        self._pending.clear()
        mean = samples.mean(axis=0)
        centred = samples - mean
        self.combine(len(samples), mean, centred.T @ centred)

    def condensed(self) -> tuple[int, np.ndarray, np.ndarray]:
        """Return how many samples there were, their mean ``[dim]``, and the sum of outer products about it ``[dim, dim]``."""
        if self._pending:
            self._condense()
        return self._condensed, self._mean, self._scatter

    def combine(self, count: int, mean: np.ndarray, scatter: np.ndarray) -> None:
        """Take in samples that others condensed: pairwise update of mean and scatter (Chan, Golub and LeVeque 1983).

        Args:
            count: Number of the samples.
            mean: Their mean, ``[dim]``.
            scatter: Sum of outer products about it, ``[dim, dim]``.
        """
        total = self._condensed + count
        delta = mean - self._mean
        if self._condensed:
            self._scatter = self._scatter + scatter + np.outer(delta, delta) * (self._condensed * count / total)
            self._mean = self._mean + delta * (count / total)
        else:
            self._scatter, self._mean = scatter, mean
        self._condensed = total


def sample_factor(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean ``[d]`` and covariance factor ``[d, n]`` (ddof 1) of samples ``[n, d]``."""
    if len(samples) < 2:
        raise ValueError(f"a covariance needs at least 2 samples, got {len(samples)}")
    mean = samples.mean(axis=0)
    return mean, (samples - mean).T / np.sqrt(len(samples) - 1)


def covariance_factor(covariance: np.ndarray) -> np.ndarray:
    """Return ``F`` with ``F F^T`` equal to a covariance: Cholesky, or a truncated eigendecomposition if it is singular."""
    try:
        return scipy.linalg.cholesky(covariance, lower=True)
    except scipy.linalg.LinAlgError:
        values, vectors = scipy.linalg.eigh(covariance)
        keep = values > values[-1] * len(values) * np.finfo(np.float64).eps
        return vectors[:, keep] * np.sqrt(values[keep])


def frechet_distance(mean1: np.ndarray, factor1: np.ndarray, mean2: np.ndarray, factor2: np.ndarray) -> float:
    """Fréchet distance of two Gaussians given as means and covariance factors.

    Args:
        mean1: ``[d]``.
        factor1: ``[d, r1]``.
        mean2: ``[d]``.
        factor2: ``[d, r2]``.

    Returns:
        The distance, at least 0.
    """
    cross = scipy.linalg.svdvals(factor1.T @ factor2).sum()
    distance = ((mean1 - mean2) ** 2).sum() + (factor1**2).sum() + (factor2**2).sum() - 2 * cross
    return max(float(distance), 0.0)


def distance_of_moments(one: FeatureMoments, other: FeatureMoments) -> float:
    """Fréchet distance of two sets of samples: from condensed moments by Cholesky where that is exact enough, by factors else.

    Args:
        one: At least 2 samples.
        other: At least 2 samples of the same number of features.

    Returns:
        The distance, at least 0.

    Raises:
        ValueError: If there are fewer samples.
    """
    if one.samples() is None and other.samples() is None:
        found = _by_cholesky(*one.covariance(), *other.covariance())
        if found is not None:
            return found
    return frechet_distance(*one.factor(), *other.factor())


def _by_cholesky(mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray) -> float | None:
    """The distance; None if a covariance is singular, or so near to it that square roots of eigenvalues lose digits.

    An eigenvalue is off by the rounding of the largest at most, and its square root by that over itself.
    """
    try:
        values = scipy.linalg.eigvalsh(product_of_covariances(scipy.linalg.cholesky(cov1, lower=True), cov2), overwrite_a=True)
    except scipy.linalg.LinAlgError:
        return None
    if values[0] <= 0:
        return None
    roots = np.sqrt(values)
    distance = float(((mean1 - mean2) ** 2).sum() + np.trace(cov1) + np.trace(cov2) - 2 * roots.sum())
    lost = np.finfo(np.float64).eps * np.linalg.norm(cov1) * np.linalg.norm(cov2) * np.sqrt((1 / values).sum())
    return distance if lost <= TOLERANCE * distance else None


def product_of_covariances(lower: np.ndarray, cov2: np.ndarray) -> np.ndarray:
    """``L^T S2 L`` of a lower triangular ``L``; it has the eigenvalues of ``L L^T S2``."""
    from scipy.linalg.blas import dtrmm

    half = dtrmm(1.0, lower, cov2, lower=True, side=1)
    product: np.ndarray = dtrmm(1.0, lower, half, lower=True, trans_a=True)
    return product
