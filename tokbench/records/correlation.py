"""Rank correlations between figures of several tokenizers, with intervals that say when they are undetermined; no torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
"""How often tokenizers are drawn again."""

FEWEST = 3
"""Tokenizers below which ranks say nothing."""

EVERY_ORDER = 8
"""Tokenizers of which all orders are counted, 40,320 of eight; of more, as many orders are drawn as there are resamples."""

LEVEL = 0.05
"""Chance above which a correlation is undetermined."""

Values = Sequence[float] | Sequence[np.ndarray]
"""A figure of each tokenizer, or the values of which it is the mean."""


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation between two figures over tokenizers.

    Args:
        value: The correlation.
        low: Lower end of its 95 % interval.
        high: Upper end.
        least: Smallest correlation with one tokenizer left out.
        most: Largest.
        count: Tokenizers.
        chance: Share of the orders of one figure whose correlation with the other is as far from 0. It is what unrelated figures would give.
    """

    value: float
    low: float
    high: float
    least: float
    most: float
    count: int
    chance: float

    @property
    def determined(self) -> bool:
        """Whether its interval has one sign, and few orders would do as well; those of four tokenizers are too few for that."""
        return not self.low <= 0 <= self.high and self.chance <= LEVEL

    @property
    def words(self) -> str:
        """Correlation, interval, and whether its sign is determined."""
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f}){'' if self.determined else ', undetermined'}"


def rank_correlation(one: Values, other: Values, *, resamples: int = RESAMPLES, seed: int = 0) -> RankCorrelation | None:
    """Correlate the ranks of two figures, over tokenizers drawn again, and over the values behind a figure.

    A resample draws as many tokenizers as there are, with repeats; of a figure that comes with values it takes the mean of as many of these,
    drawn likewise. Resamples in which a figure is the same for all say nothing, and are left out.

    Args:
        one: A number of each tokenizer, or an array of the values behind it.
        other: The other figure of the same tokenizers, in the same order.
        resamples: How many.
        seed: Seed of the draws.

    Returns:
        The correlation with the percentile interval of its resamples; None of fewer than three tokenizers, or of a figure that is the same
        for all.

    Raises:
        ValueError: If the figures are not of equally many tokenizers, or a number is not finite.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 13 (intervals) and 15 (permutations).
    """
    if len(one) != len(other):
        raise ValueError(f"figures are of {len(one)} and {len(other)} tokenizers; ranks need the same ones")
    sides = [[np.atleast_1d(np.asarray(value, dtype=np.float64)) for value in values] for values in (one, other)]
    if not all(len(value) and np.isfinite(value).all() for side in sides for value in side):
        raise ValueError("ranks need finite numbers, at least one of each tokenizer")
    means = [np.array([float(value.mean()) for value in side]) for side in sides]
    whole = _spearman(*means)
    if len(one) < FEWEST or whole is None:
        return None
    chance, drawn = np.random.default_rng(seed), []
    for _ in range(resamples):
        chosen = chance.integers(len(one), size=len(one))
        found = _spearman(*(_drawn(side, chosen, chance) for side in sides))
        if found is not None:
            drawn.append(found)
    low, high = np.percentile(drawn, [2.5, 97.5]) if drawn else (math.nan, math.nan)
    left = [_spearman(*(np.delete(mean, place) for mean in means)) for place in range(len(one))]
    known = [value for value in left if value is not None] or [whole]
    return RankCorrelation(whole, float(low), float(high), min(known), max(known), len(one), _chance(means[0], means[1], resamples, seed))


def _chance(one: np.ndarray, other: np.ndarray, resamples: int, seed: int) -> float:
    """Share of orders with a correlation as far from 0: of all of them, or of drawn ones and the one that was found."""
    a, b = (ranks - ranks.mean() for ranks in (_ranks(one), _ranks(other)))
    if len(a) <= EVERY_ORDER:
        orders = np.array(list(itertools.permutations(range(len(a)))))
    else:
        chance = np.random.default_rng(seed)
        orders = np.stack([np.arange(len(a)), *(chance.permutation(len(a)) for _ in range(resamples))])
    sizes = np.abs(a[orders] @ b)
    return float(np.mean(sizes >= abs(a @ b) * (1 - 1e-9)))  # as ranks have halves, sums may round


def _drawn(side: Sequence[np.ndarray], chosen: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    values = [side[place] for place in chosen]
    return np.array([float(value[0]) if len(value) == 1 else float(chance.choice(value, len(value)).mean()) for value in values])


def _spearman(one: np.ndarray, other: np.ndarray) -> float | None:
    """Pearson's correlation of mean ranks; None where one side has no order."""
    if len(set(one)) < 2 or len(set(other)) < 2:
        return None
    a, b = (_ranks(side) for side in (one, other))
    a, b = a - a.mean(), b - b.mean()
    return float((a @ b) / math.sqrt(float(a @ a) * float(b @ b)))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    found: np.ndarray = (last - (counts - 1) / 2)[place]
    return found
