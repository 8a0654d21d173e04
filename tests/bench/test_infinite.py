"""Fréchet distances at infinite sample size: against the truth, and against distances computed one by one."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch

from tokbench.bench.frechet import frechet_distance, sample_factor
from tokbench.bench.metrics import infinite
from tokbench.bench.metrics.base import Figure
from tokbench.bench.metrics.fd_efflite0_infinite import FDEffLite0Infinite
from tokbench.bench.metrics.infinite import biases_without, distance_and_without
from tokbench.bench.observation import Listing

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


def slow_bias(before: np.ndarray, after: np.ndarray, groups: np.ndarray) -> float:
    names = sorted(set(groups.tolist()))
    without = [slow(before[groups != name], after[groups != name]) for name in names]
    return (len(names) - 1) * (sum(without) / len(names) - slow(before, after))


@pytest.mark.parametrize("most", [2048, 50])
def test_biases_without_a_tenth_are_those_of_the_others(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infinite, "MOST_ONE_BY_ONE", most)
    before, after = pairs(150, 0)
    groups = names(150, 5)
    fold = np.array([int(group) % 10 for group in groups])
    parts = np.array(groups) if most > 150 else fold
    expected = [slow_bias(before[fold != i], after[fold != i], parts[fold != i]) * 135 / 150 for i in range(10)]
    found = biases_without(before, after, groups)
    assert list(found) == [f"{i:02d}" for i in range(10)]
    assert list(found.values()) == pytest.approx(expected, rel=1e-3 if most > 150 else 1e-9)


@pytest.mark.parametrize("most", [2048, 50])
def test_the_interval_of_the_bias_is_as_wide_as_other_images_spread_it(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infinite, "MOST_ONE_BY_ONE", most)
    found = [reported(*pairs(150, seed), names(150)) for seed in range(30)]
    biases = np.array([bias.value for _, bias in found])
    halves = np.array([bias.interval.high - bias.value for _, bias in found])
    assert np.sqrt((halves**2).mean()) / scipy.stats.t.ppf(0.975, 9) == pytest.approx(biases.std(ddof=1), rel=0.3)
    assert {bias.interval.method for _, bias in found} == {"jackknife of 150 groups in 10 folds"}


def test_a_report_says_what_the_bias_is_without_each_tenth() -> None:
    before, after = pairs(150, 0)
    infinitely_many, bias = reported(before, after, names(150, 5))
    assert infinitely_many.value + bias.value == pytest.approx(slow(before, after), rel=1e-6)
    assert (bias.part, infinitely_many.part) == ("tenth", "group")
    of_tenth = biases_without(before, after, names(150, 5))
    assert bias.without == {name: of_tenth[f"{int(name) % 10:02d}"] for name in names(150, 5)}


def test_without_groups_there_are_no_intervals() -> None:
    assert [figure.interval for figure in reported(*pairs(150, 0), names(150, 50))] == [None, None]
    assert [figure.without for figure in reported(*pairs(150, 0), names(150, 50))] == [None, None]


def reported(before: np.ndarray, after: np.ndarray, groups: list[str]) -> tuple[Figure, Figure]:
    metric = FDEffLite0Infinite(SimpleNamespace(dim=DIM), None, micro_batch=8)
    metric.listing = Listing(tuple(names(len(groups))), tuple(groups))
    metric.images, metric.features = [torch.arange(len(groups))], [torch.from_numpy(np.stack([before, after], axis=1))]
    return tuple(metric.report().values())
