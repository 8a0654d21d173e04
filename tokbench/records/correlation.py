"""Rank correlations between figures of several tokenizers, with intervals that say when they are undetermined; no torch."""

from __future__ import annotations

import itertools
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
    drawn likewise. A resample in which a figure is the same for all has no correlation. The interval is what holds whatever it would have been:
    for the lower end it counts as -1, and for the upper as 1. Where one in forty is such, nothing is left but -1 to 1. So it is of a figure that
    nearly all tokenizers have in common, whose correlation rests on the few that are often not drawn.

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

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 13 (intervals) and 15 (permutations). Bounds of quantiles
    where values are missing: Horowitz and Manski, "Identification and Robustness with Contaminated and Corrupted Data", Econometrica 63, 1995.
    """
    return rank_correlations([one], other, resamples=resamples, seed=seed)[0]


def rank_correlations(
    figures: Sequence[Values], other: Values, *, resamples: int = RESAMPLES, seed: int = 0
) -> list[RankCorrelation | None]:
    """Correlate several figures with one; draws are made once for all that are numbers, so that many take hardly longer than one.

    Args:
        figures: Numbers of each tokenizer, or arrays of the values behind them.
        other: What they are correlated with, of the same tokenizers in the same order.
        resamples: How many.
        seed: Seed of the draws.

    Returns:
        What ``rank_correlation`` gives of each.

    Raises:
        ValueError: If the figures are not of equally many tokenizers, or a number is not finite.
    """
    judged, sides = _values(other), []
    for one in figures:
        if len(one) != len(other):
            raise ValueError(f"figures are of {len(one)} and {len(other)} tokenizers; ranks need the same ones")
        sides.append(_values(one))
    if len(other) < FEWEST:
        return [None] * len(sides)
    whole, orders = _means(judged), _orders(len(other), resamples, seed)
    shared: tuple[np.ndarray, np.ndarray] | None = None
    found: list[RankCorrelation | None] = []
    for side in sides:
        means = _means(side)
        value = _spearman(means, whole)
        if value is None:
            found.append(None)
            continue
        if any(len(own) > 1 for own in side):
            drawn = _resamples([side, judged], resamples, seed)[1]
        else:
            shared = shared or _shared(judged, resamples, seed)
            drawn = [means[shared[0]], shared[1]]
        low, high = _interval(_spearmans(*drawn), resamples)
        left = [_spearman(np.delete(means, place), np.delete(whole, place)) for place in range(len(means))]
        ends = [one for one in left if one is not None] or [value]
        chance = _chance(means, whole, orders)
        found.append(RankCorrelation(value, low, high, min(ends), max(ends), len(means), chance))
    return found


def _interval(known: np.ndarray, resamples: int) -> tuple[float, float]:
    """The percentile interval of resamples, of which those that have no correlation are missing: as low and as high as these could make it."""
    lacking = np.ones(resamples - len(known))
    low, high = (np.percentile([*known, *side * lacking], end) for side, end in ((-1, 2.5), (1, 97.5)))
    return float(low), float(high)


def _values(figure: Values) -> list[np.ndarray]:
    """The values behind a figure, of each tokenizer."""
    side = [np.atleast_1d(np.asarray(value, dtype=np.float64)) for value in figure]
    if not all(len(value) and np.isfinite(value).all() for value in side):
        raise ValueError("ranks need finite numbers, at least one of each tokenizer")
    return side


def _means(side: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([float(value.mean()) for value in side])


def _orders(count: int, resamples: int, seed: int) -> np.ndarray:
    """Orders of so many tokenizers: all of them, or drawn ones and the one that was found."""
    if count <= EVERY_ORDER:
        return np.array(list(itertools.permutations(range(count))))
    chance = np.random.default_rng(seed)
    return np.stack([np.arange(count), *(chance.permutation(count) for _ in range(resamples))])


def _chance(one: np.ndarray, other: np.ndarray, orders: np.ndarray) -> float:
    """Share of orders with a correlation as far from 0."""
    a, b = (ranks - ranks.mean() for ranks in (_ranks(one), _ranks(other)))
    sizes = np.abs(a[orders] @ b)
    return float(np.mean(sizes >= abs(a @ b) * (1 - 1e-9)))  # as ranks have halves, sums may round


def _shared(judged: Sequence[np.ndarray], resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which tokenizers each resample has, and what it has of the figure that others are correlated with."""
    chosen, (drawn,) = _resamples([judged], resamples, seed)
    return chosen, drawn


def _resamples(sides: Sequence[Sequence[np.ndarray]], resamples: int, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Tokenizers drawn again, a row a resample, and what each side has of them."""
    count = len(sides[0])
    chance = np.random.default_rng(seed)
    chosen = np.empty((resamples, count), dtype=np.int64)
    drawn = [np.empty((resamples, count)) for _ in sides]
    for row in range(resamples):
        chosen[row] = chance.integers(count, size=count)
        for side, into in zip(sides, drawn, strict=True):
            into[row] = _drawn(side, chosen[row], chance)
    return chosen, drawn


def _drawn(side: Sequence[np.ndarray], chosen: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    values = [side[place] for place in chosen]
    return np.array([float(value[0]) if len(value) == 1 else float(chance.choice(value, len(value)).mean()) for value in values])


def _spearman(one: np.ndarray, other: np.ndarray) -> float | None:
    """Pearson's correlation of mean ranks; None where one side has no order."""
    found = _spearmans(one[None], other[None])
    return float(found[0]) if len(found) else None


def _spearmans(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """That of every row; rows in which one side has no order are left out. Ranks have halves, so that their products sum without rounding."""
    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (_ranks_of_rows(one), _ranks_of_rows(other)))
    products, squares = (a * b).sum(axis=1), (a * a).sum(axis=1) * (b * b).sum(axis=1)
    found: np.ndarray = products[squares > 0] / np.sqrt(squares[squares > 0])
    return found


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share the mean of theirs."""
    found: np.ndarray = _ranks_of_rows(values[None])[0]
    return found


def _ranks_of_rows(values: np.ndarray) -> np.ndarray:
    """Those of every row: values below, and the middle of those that are equal."""
    below, equal = np.zeros(values.shape), np.zeros(values.shape)
    for column in values.T[..., None]:
        below += column < values
        equal += column == values
    found: np.ndarray = below + (equal + 1) / 2
    return found
