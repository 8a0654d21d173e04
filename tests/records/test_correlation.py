"""Rank correlations, held to scipy and to draws made one by one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import permutation_test, spearmanr

from tokbench.records.correlation import rank_correlation, rank_correlations

ONE = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6, 5.0, 3.5]
OTHER = [2.0, 7.0, 1.0, 8.0, 2.8, 1.9, 2.2, 6.0]


def test_correlation_interval_and_leave_one_out_are_those_of_a_loop() -> None:
    found = rank_correlation(ONE, OTHER, resamples=300)
    assert found.value == pytest.approx(spearmanr(ONE, OTHER).statistic)
    chance, drawn = np.random.default_rng(0), []
    for _ in range(300):
        chosen = chance.integers(8, size=8)
        a, b = np.array(ONE)[chosen], np.array(OTHER)[chosen]
        if len(set(a)) > 1 and len(set(b)) > 1:
            drawn.append(spearmanr(a, b).statistic)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))
    left = [spearmanr(np.delete(ONE, place), np.delete(OTHER, place)).statistic for place in range(8)]
    assert (found.least, found.most, found.count) == (pytest.approx(min(left)), pytest.approx(max(left)), 8)
    assert not found.determined
    assert found.words.endswith(", undetermined")


def test_values_behind_a_figure_are_drawn_again() -> None:
    rng = np.random.default_rng(1)
    values = [rng.normal(size=30) + place for place in (0, 4, 2)]
    found = rank_correlation([1.0, 3.0, 2.0], values, resamples=200)
    chance, drawn = np.random.default_rng(0), []
    for _ in range(200):
        chosen = chance.integers(3, size=3)
        means = [float(chance.choice(values[place], 30).mean()) for place in chosen]
        a = np.array([1.0, 3.0, 2.0])[chosen]
        if len(set(a)) > 1 and len(set(means)) > 1:
            drawn.append(spearmanr(a, means).statistic)
    assert found.value == 1
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))


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
