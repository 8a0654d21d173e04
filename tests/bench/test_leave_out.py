"""Distances without each group: against computing every one of them anew."""

from __future__ import annotations

import numpy as np
import pytest

from tokbench.bench.frechet import FeatureMoments, distance_of_moments, frechet_distance, sample_factor
from tokbench.bench.leave_out import MOST_TOGETHER, distances_to_reference_without, distances_without
from tokbench.records.intervals import jackknife_interval

DIM = 16


def moments(samples: np.ndarray) -> FeatureMoments:
    found = FeatureMoments(samples.shape[1])
    for part in np.array_split(samples, 3):
        found.update(part)
    return found


def paired(count: int, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Features as networks have them: not negative, of unequal variance, alike within groups of ``size``."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(DIM, DIM)) * np.arange(1, DIM + 1)[:, None] ** -0.7
    centres = np.repeat(rng.normal(size=(-(-count // size), DIM)), size, axis=0)[:count] * (size > 1)
    before = np.maximum(0, (centres + rng.normal(size=(count, DIM))) @ mixing)
    after = np.maximum(0, before + 0.3 * rng.normal(size=before.shape) @ mixing * rng.exponential(size=(count, 1)))
    return before, after, [f"{i // size:04d}" for i in range(count)]


def one_by_one(before: np.ndarray, after: np.ndarray, groups: list[str]) -> np.ndarray:
    names = np.array(groups)
    kept = [names != name for name in sorted(set(groups))]
    return np.array([frechet_distance(*sample_factor(before[keep]), *sample_factor(after[keep])) for keep in kept])


def found_at_once(before: np.ndarray, after: np.ndarray, groups: list[str]) -> tuple[float, np.ndarray]:
    one, other = moments(before), moments(after)
    distance = distance_of_moments(one, other)
    return distance, distances_without(one, other, np.stack([before, after], axis=1), groups, distance)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("count", [10, DIM, DIM + 1, DIM + 2, 20, 40, 150])
def test_they_are_the_distances_of_the_images_that_are_left(count: int, size: int) -> None:
    before, after, groups = paired(count, size)
    _, without = found_at_once(before, after, groups)
    np.testing.assert_allclose(without, one_by_one(before, after, groups), rtol=1e-5)


@pytest.mark.parametrize("sides", [(0,), (1,), (0, 1)])
def test_features_that_never_vary_leave_covariances_singular(sides: tuple[int, ...]) -> None:
    before, after, groups = paired(90, 3)
    for side in sides:
        (before, after)[side][:, 4:7] = 0
    _, without = found_at_once(before, after, groups)
    np.testing.assert_allclose(without, one_by_one(before, after, groups), rtol=1e-5)


def test_images_may_repeat_and_reconstructions_be_all_the_same() -> None:
    before, after, groups = paired(14, 2)
    before[1], before[5:8], after[:] = before[0], before[4], after[0]
    _, without = found_at_once(before, after, groups)
    np.testing.assert_allclose(without, one_by_one(before, after, groups), rtol=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [10, 90])
def test_images_that_are_all_the_same_have_one_distance_whoever_is_left_out(count: int) -> None:
    before, after = np.full((count, DIM), 0.1), np.full((count, DIM), 0.3)
    groups = [f"{i:04d}" for i in range(count)]
    distance, without = found_at_once(before, after, groups)
    assert distance == pytest.approx(DIM * 0.04)
    np.testing.assert_allclose(without, distance)
    fixed = distances_to_reference_without(moments(before), moments(after), after, groups, distance)
    np.testing.assert_allclose(fixed, distance)


def test_groups_need_not_be_equal_nor_in_order() -> None:
    before, after, _ = paired(60, 1)
    groups = [str(i) for i in np.random.default_rng(0).integers(9, size=60)]
    _, without = found_at_once(before, after, groups)
    np.testing.assert_allclose(without, one_by_one(before, after, groups), rtol=1e-5)


def test_large_groups_go_part_by_part_and_the_interval_stays_within_a_tenth() -> None:
    before, after, groups = paired(10 * (MOST_TOGETHER + 16), MOST_TOGETHER + 16)
    distance, without = found_at_once(before, after, groups)
    exact = jackknife_interval(distance, one_by_one(before, after, groups), "exact")
    found = jackknife_interval(distance, without, "by parts")
    assert exact is not None
    assert found is not None
    assert found.high - found.low == pytest.approx(exact.high - exact.low, rel=0.1)


@pytest.mark.parametrize("count", [12, 100])
def test_exact_reconstructions_are_at_no_distance_whoever_is_left_out(count: int) -> None:
    before, _, groups = paired(count, 2)
    distance, without = found_at_once(before, before.copy(), groups)
    assert distance == pytest.approx(0, abs=1e-12)
    assert not without.any()


def test_somebody_must_be_left() -> None:
    before, after, _ = paired(10, 1)
    with pytest.raises(ValueError, match="10 images without a group of 9 are too few for a covariance"):
        found_at_once(before, after, ["a"] * 9 + ["b"])


@pytest.mark.parametrize(("count", "size"), [(10, 1), (DIM, 3), (40, 1), (150, 3), (150, 8)])
@pytest.mark.parametrize("others", [12, 60])
@pytest.mark.parametrize("statistics", [False, True])
def test_distances_to_a_reference_that_stays(count: int, size: int, others: int, statistics: bool) -> None:
    there, (_, after, groups) = paired(others, 1, seed=1)[0], paired(count, size)
    reference = FeatureMoments.of(there.mean(axis=0), np.cov(there, rowvar=False)) if statistics else moments(there)
    distance = distance_of_moments(reference, moments(after))
    found = distances_to_reference_without(reference, moments(after), after, groups, distance)
    names = np.array(groups)
    wanted = [frechet_distance(*sample_factor(there), *sample_factor(after[names != name])) for name in sorted(set(groups))]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_too_few_images_beside_a_reference_are_refused() -> None:
    there, after, _ = paired(6, 1)
    with pytest.raises(ValueError, match="6 images without a group of 5 are too few for a covariance"):
        distances_to_reference_without(moments(there), moments(after), after, ["a"] * 5 + ["b"], 1.0)
