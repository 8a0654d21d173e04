"""Confidence intervals over groups of correlated images (crops of one photo)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES, SEED, LEVEL = 1000, 0, 0.95

PICKS = 1 << 19
"""Groups that are drawn at once, unless a single resample has more: all together they would take 24 KB of memory an image."""

FEWEST_FOLDS = 5
"""Parts below which a jackknife says nothing."""


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval.

    Args:
        low: Lower end.
        high: Upper end.
        method: How it was estimated, and over what.
    """

    low: float
    high: float
    method: str

    def ends(self, scale: float = 1.0) -> tuple[float, float] | None:
        """Both ends times ``scale``, to be drawn; None if one is not finite."""
        low, high = scale * self.low, scale * self.high
        return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def group_bootstrap(values: Sequence[float] | np.ndarray, groups: Sequence[str] | np.ndarray) -> Interval | None:
    """Percentile bootstrap of a mean, resampling whole groups.

    Args:
        values: One per image.
        groups: The group of each: names, or numbers from 0 on that sort as the names do.

    Returns:
        The interval; None with fewer than two groups or with infinite values.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if not isinstance(groups, np.ndarray):
        number = {name: i for i, name in enumerate(sorted(set(groups)))}
        groups = np.fromiter((number[group] for group in groups), np.int64, len(groups))
    counts = np.bincount(groups)
    there = counts > 0
    sums, counts = np.bincount(groups, weights=numbers)[there], counts[there]
    if len(counts) < 2 or not np.isfinite(numbers).all():
        return None
    draw, rows = np.random.Generator(np.random.PCG64(SEED)), max(1, PICKS // len(counts))
    means = np.concatenate([_resampled(draw, sums, counts, min(rows, RESAMPLES - done)) for done in range(0, RESAMPLES, rows)])
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high), f"bootstrap of {len(counts)} groups, {RESAMPLES} resamples")


def _resampled(draw: np.random.Generator, sums: np.ndarray, counts: np.ndarray, rows: int) -> np.ndarray:
    """Means of the next resamples; they are the same however many are drawn at once."""
    picks = draw.integers(len(sums), size=(rows, len(sums)))
    return np.asarray(sums[picks].sum(axis=1) / counts[picks].sum(axis=1))


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Find the 95 % confidence interval of a median from order statistics, which supposes no distribution.

    The k-th smallest and k-th largest of n independent values enclose the median with probability ``1 - 2 P(B < k)``, B binomial with n
    tries of 1/2. Here k is the largest for which that is 95 %. Source: David and Nagaraja, "Order Statistics", 2003, section 7.1.

    Args:
        values: Finite, in any order.

    Returns:
        Low and high end; None of fewer than six values, which cannot enclose it that surely.
    """
    from scipy.special import bdtr, bdtrik  # the binomial distribution of scipy.stats, which takes long to import

    count, outside = len(values), (1 - LEVEL) / 2
    k = math.ceil(bdtrik(outside, count, 0.5)) if count else 0
    k -= bool(k and bdtr(k - 1, count, 0.5) >= outside)
    if k < 1:
        return None
    ordered = sorted(values)
    return ordered[k - 1], ordered[-k]


def group_jackknife(figure: float, without: Callable[[np.ndarray], float], groups: Sequence[str], *, folds: int = 10) -> Interval | None:
    """Delete-a-fold jackknife for a figure that is no mean, with whole groups in one fold.

    Args:
        figure: Figure of all images.
        without: Computes the figure from the images a boolean mask keeps.
        groups: The group of each image.
        folds: At most this many; fewer groups make fewer folds.

    Returns:
        ``figure`` plus or minus Student's t times the jackknife's standard error; None with fewer than five groups.
    """
    names = sorted(set(groups))
    count = min(folds, len(names))
    if count < FEWEST_FOLDS:
        return None
    fold_of = {name: i % count for i, name in enumerate(names)}
    fold = np.array([fold_of[group] for group in groups])
    estimates = np.array([without(fold != i) for i in range(count)])
    return jackknife_interval(figure, estimates, f"jackknife of {len(names)} groups in {count} folds")


def jackknife_interval(figure: float, estimates: np.ndarray, method: str, *, count: int | None = None) -> Interval | None:
    """Interval of a figure from what it is without each of its parts.

    Args:
        figure: Figure of all parts.
        estimates: The figure without one part, of all parts or of some that were chosen by chance, ``[n]``.
        method: How they were found, and over what.
        count: How many parts there are in all; None if ``estimates`` are of all.

    Returns:
        ``figure`` plus or minus Student's t times the jackknife's standard error; None with fewer than five estimates.
    """
    from scipy.special import stdtrit  # Student's t of scipy.stats, which takes long to import

    known = len(estimates)
    if known < FEWEST_FOLDS:
        return None
    count = known if count is None else count
    variance = float(((estimates - estimates.mean()) ** 2).sum()) / (known - 1)
    error = math.sqrt(variance / count) * (count - 1)
    half = float(stdtrit(known - 1, (1 + LEVEL) / 2)) * error
    return Interval(figure - half, figure + half, method)
