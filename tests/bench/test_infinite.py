"""Fréchet distances at infinite sample size: against the truth, and against distances computed one by one."""

from __future__ import annotations

import numpy as np
import pytest

from tokbench.bench.frechet import frechet_distance, sample_factor
from tokbench.bench.metrics import infinite
from tokbench.bench.metrics.infinite import distance_and_without

DIM = 12
SCALE = np.exp(-np.arange(DIM) / 4)
TRUE = float(((SCALE - np.sqrt(0.9**2 + 0.3**2) * SCALE) ** 2).sum())
"""Distance of the two distributions that ``pairs`` draws from: their covariances commute."""


def pairs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    before = rng.normal(size=(count, DIM))
    return before * SCALE, (0.9 * before + 0.3 * rng.normal(size=before.shape)) * SCALE


def slow(before: np.ndarray, after: np.ndarray) -> float:
    return frechet_distance(*sample_factor(before), *sample_factor(after))


def names(count: int, each: int = 1) -> list[str]:
    return [f"{i // each:05d}" for i in range(count)]


def test_without_a_part_it_is_that_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = pairs(60, 0)
    groups = names(60, 4)
    value, without = distance_and_without(before, after, groups)
    assert value == pytest.approx(slow(before, after), rel=1e-9)
    kept = [np.array([group != name for group in groups]) for name in sorted(set(groups))]
    assert without == pytest.approx([slow(before[keep], after[keep]) for keep in kept], rel=1e-5)
    monkeypatch.setattr(infinite, "MOST_ONE_BY_ONE", 50)
    value, without = distance_and_without(before, after, groups)
    fold = np.array([int(group) % 10 for group in groups])
    assert value == pytest.approx(slow(before, after), rel=1e-9)
    assert without == pytest.approx([slow(before[fold != i], after[fold != i]) for i in range(10)], rel=1e-9)


@pytest.mark.parametrize("most", [2048, 50])
def test_the_bias_at_n_is_taken_off(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infinite, "MOST_ONE_BY_ONE", most)
    found = []
    for seed in range(30):
        value, without = distance_and_without(*pairs(150, seed), names(150))
        found.append((value, value - (len(without) - 1) * (without.mean() - value)))
    biased, infinitely_many = np.mean(found, axis=0)
    error = np.std([one for _, one in found]) / np.sqrt(len(found))
    assert biased > 1.5 * TRUE
    assert infinitely_many == pytest.approx(TRUE, abs=4 * error)
    assert 4 * error < biased - TRUE
