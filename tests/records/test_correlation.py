"""Rank correlations, held to scipy and to draws made one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import permutation_test, spearmanr

from tokbench.records.correlation import rank_correlation, rank_correlations

ONE = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6, 5.0, 3.5]
OTHER = [2.0, 7.0, 1.0, 8.0, 2.8, 1.9, 2.2, 6.0]


def slow_ends(drawn: list[float | None]) -> tuple[float, float]:
    """Ends of the interval of resamples, None where one has no correlation: each end with the worst that such a one could have been."""
    low = sorted(-1.0 if one is None else one for one in drawn)
    high = sorted(1.0 if one is None else one for one in drawn)
    return tuple(float(np.percentile(part, end)) for part, end in ((low, 2.5), (high, 97.5)))


def correlated(a: np.ndarray, b: np.ndarray) -> float | None:
    return spearmanr(a, b).statistic if len(set(a)) > 1 and len(set(b)) > 1 else None


def test_correlation_interval_and_leave_one_out_are_those_of_a_loop() -> None:
    found = rank_correlation(ONE, OTHER, resamples=300)
    assert found.value == pytest.approx(spearmanr(ONE, OTHER).statistic)
    chance, drawn = np.random.default_rng(0), []
    for _ in range(300):
        chosen = chance.integers(8, size=8)
        drawn.append(correlated(np.array(ONE)[chosen], np.array(OTHER)[chosen]))
    assert (found.low, found.high) == pytest.approx(slow_ends(drawn))
    left = [spearmanr(np.delete(ONE, place), np.delete(OTHER, place)).statistic for place in range(8)]
    assert (found.least, found.most, found.count) == (pytest.approx(min(left)), pytest.approx(max(left)), 8)
    assert not found.determined
    assert found.words.endswith(", undetermined")


def test_values_behind_a_figure_are_drawn_again() -> None:
    rng = np.random.default_rng(1)
    one = [1.0, 3.0, 2.0, 2.5, 0.5]
    values = [rng.normal(size=30) + 2 * place for place in one]
    found = rank_correlation(one, values, resamples=200)
    chance, drawn = np.random.default_rng(0), []
    for _ in range(200):
        chosen = chance.integers(5, size=5)
        means = [float(chance.choice(values[place], 30).mean()) for place in chosen]
        drawn.append(correlated(np.array(one)[chosen], means))
    assert found.value == 1
    assert (found.low, found.high) == pytest.approx(slow_ends(drawn))
    assert found.low > -1


@pytest.mark.parametrize("one", [[1.0, 1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 2.0, 3.0]])
def test_the_interval_is_that_of_all_resamples_there_are(one: list[float]) -> None:
    """Of the first figure one resample in ninety has no order, of the second one in thirteen, more than an end of the interval leaves out."""
    other = [1.0, 2.0, 3.0, 5.0, 4.0]
    every = [list(chosen) for chosen in itertools.product(range(5), repeat=5)]
    drawn = [correlated(np.array(one)[chosen], np.array(other)[chosen]) for chosen in every]
    found, ends = rank_correlation(one, other), slow_ends(drawn)
    assert (found.low, found.high) == pytest.approx(ends, abs=0.03)
    lacking = sum(value is None for value in drawn) / len(drawn)
    assert (lacking > 0.025, ends[0] == -1) == (one[2] == 1, one[2] == 1)


def test_a_figure_that_nearly_all_have_in_common_is_undetermined_and_holds_its_value() -> None:
    """Without the one that differs there is no order: a third of the resamples, and all others have it once at least."""
    found = rank_correlation([2560.0] * 9 + [576.0], [5.0, 3.0, 4.0, 6.0, 7.0, 1.0, 2.0, 8.0, 9.0, 30.0])
    assert found.value == pytest.approx(-0.52, abs=0.01)
    assert (found.low, found.high) == (-1, 1)
    rng = np.random.default_rng(3)
    for _ in range(40):
        count = int(rng.integers(3, 10))
        one, other = (rng.integers(4, size=count).astype(float).tolist() for _ in range(2))
        found = rank_correlation(one, other, resamples=200)
        assert found is None or found.low - 1e-9 <= found.value <= found.high + 1e-9


def test_equal_values_share_their_rank_and_a_sure_sign_is_determined() -> None:
    one = [1.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    found = rank_correlation(one, [2 * value for value in one], resamples=100)
    assert found.value == pytest.approx(spearmanr(one, one).statistic)
    assert found.determined
    assert found.words == "1.00 (1.00 to 1.00)"


@pytest.mark.parametrize(("count", "within"), [(4, 1e-12), (7, 1e-12), (9, 0.04)])
def test_chance_is_that_of_every_order(count: int, within: float) -> None:
    one, other = [1.0, *ONE][:count], [3.0, *OTHER][:count]
    kept = {"permutation_type": "pairings", "n_resamples": np.inf if count < 9 else 2_999, "rng": 0}
    theirs = permutation_test((one,), lambda a: spearmanr(a, other).statistic, **kept)
    assert rank_correlation(one, other).chance == pytest.approx(theirs.pvalue, abs=within)


def test_four_tokenizers_determine_nothing() -> None:
    found = rank_correlation([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0])
    assert (found.low, found.chance) == (1.0, 2 / 24)
    assert not found.determined
    assert rank_correlation([1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0, 4.0, 5.0]).determined


@pytest.mark.parametrize(("one", "other"), [([1.0, 2.0], [1.0, 2.0]), ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])])
def test_there_is_none_of_few_tokenizers_or_equal_figures(one: list, other: list) -> None:
    assert rank_correlation(one, other) is None


def test_what_has_no_ranks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^figures are of 3 and 2 tokenizers; ranks need the same ones$"):
        rank_correlation([1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="ranks need finite numbers, at least one of each tokenizer"):
        rank_correlation([1.0, 2.0, np.nan], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="ranks need finite numbers"):
        rank_correlation([np.array([]), np.array([1.0]), np.array([2.0])], [1.0, 2.0, 3.0])


@pytest.mark.parametrize("count", [5, 9])
def test_several_figures_get_to_the_last_digit_what_each_gets_alone(count: int) -> None:
    rng = np.random.default_rng(2)
    figures = [rng.normal(size=count).tolist(), rng.integers(0, 2, size=count).astype(float).tolist(), [1.0] * count]
    figures.append([rng.normal(size=7) + place for place in range(count)])
    values = [rng.integers(0, 4, size=25) / 3 for _ in range(count)]
    found = rank_correlations(figures, values, resamples=200)
    assert found == [rank_correlation(one, values, resamples=200) for one in figures]
    assert [one is None for one in found] == [False, False, True, False]
    assert rank_correlations([], values) == []
    with pytest.raises(ValueError, match="ranks need the same ones"):
        rank_correlations([figures[0], [1.0]], values)
