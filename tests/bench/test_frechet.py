"""Fréchet distance against 40-digit values, and its accumulator against one-shot statistics."""

import json

import numpy as np
import pytest
import scipy.linalg

from tokbench.bench import frechet
from tokbench.bench.frechet import FeatureMoments, covariance_factor, distance_of_moments, frechet_distance, sample_factor


def distance_of(x, y, chunks=7):
    sides = []
    for features in (x, y):
        moments = FeatureMoments(features.shape[1])
        for part in np.array_split(features, chunks):
            moments.update(part)
        sides.append(moments)
    return frechet_distance(*sides[0].factor(), *sides[1].factor())


def moments_of(features):
    moments = FeatureMoments(features.shape[1])
    moments.update(features)
    return moments


@pytest.fixture
def values(goldens):
    return json.loads((goldens / "metrics" / "goldens.json").read_text())["fid"]


def test_all_feature_pairs_to_ten_digits(goldens, values):
    assert len(values["cases"]) >= 4
    for case in values["cases"]:
        x, y = (np.load(goldens / "metrics" / f"{case[key]}.npy") for key in "xy")
        expected = case["values"]["mpmath_40digits"]
        assert distance_of(x, y) == pytest.approx(expected, rel=1e-10, abs=1e-10), case["x"]
        assert distance_of_moments(moments_of(x), moments_of(y)) == pytest.approx(expected, rel=1e-10, abs=1e-10), case["x"]


def test_closed_forms_from_covariances(goldens, values):
    for case in values["closed_form"]:
        path = goldens / "metrics" / case["file"]
        if not path.is_file():
            continue
        stats = np.load(path)
        one, two = (covariance_factor(stats[f"sigma{i}"]) for i in (1, 2))
        assert frechet_distance(stats["mu1"], one, stats["mu2"], two) == pytest.approx(case["closed_form"], rel=1e-10)


def test_rank_deficient_covariance_takes_the_eigenvector_path():
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(500, 5)) @ rng.normal(size=(5, 20))
    covariance = np.cov(samples, rowvar=False)
    with pytest.raises(scipy.linalg.LinAlgError):
        scipy.linalg.cholesky(covariance - 1e-9 * np.eye(20), lower=True)
    factor = covariance_factor(covariance)
    np.testing.assert_allclose(factor @ factor.T, covariance, atol=1e-9)


@pytest.mark.parametrize("count", [40, 64, 65, 300])
def test_accumulator_equals_one_shot_statistics_for_any_chunks_and_a_large_mean(count):
    samples = np.random.default_rng(count).normal(loc=1000.0, size=(count, 64))
    moments = FeatureMoments(64)
    for part in np.array_split(samples, 9):
        moments.update(part)
    assert moments.count == count
    mean, factor = moments.factor()
    np.testing.assert_allclose(mean, samples.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(factor @ factor.T, np.cov(samples, rowvar=False), atol=1e-10)


def test_memory_stops_growing_once_samples_exceed_features():
    moments = FeatureMoments(8)
    for _ in range(100):
        moments.update(np.random.default_rng(0).normal(size=(5, 8)))
    assert sum(map(len, moments._pending)) <= 8
    assert moments.samples() is None


@pytest.mark.parametrize(("left", "right"), [(10, 15), (10, 300), (300, 10), (200, 300)])
def test_merging_equals_seeing_everything(left, right):
    samples = np.random.default_rng(1).normal(size=(left + right, 32))
    parts = [FeatureMoments(32), FeatureMoments(32)]
    parts[0].update(samples[:left])
    parts[1].update(samples[left:])
    parts[0].merge(parts[1])
    assert parts[0].count == left + right
    mean, factor = parts[0].factor()
    np.testing.assert_allclose(mean, samples.mean(axis=0), atol=1e-14)
    np.testing.assert_allclose(factor @ factor.T, np.cov(samples, rowvar=False), atol=1e-12)


def test_too_few_samples_and_wrong_width_are_refused():
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        sample_factor(np.zeros((1, 4)))
    with pytest.raises(ValueError, match=r"\[N, 4\]"):
        FeatureMoments(4).update(np.zeros((2, 5)))


def spread(decay, *, dim=48, count=400, seed=0, noise=0.3):
    """Features and slightly other ones, whose variances fall by ``decay`` powers of ten."""
    rng = np.random.default_rng(seed)
    mixing = np.linalg.qr(rng.normal(size=(dim, dim)))[0] * 10.0 ** (-decay / 2 * np.linspace(0, 1, dim))[:, None]
    before = rng.normal(size=(count, dim)) @ mixing
    return before, before + noise * rng.normal(size=(count, dim)) @ mixing


@pytest.mark.parametrize(
    ("decay", "noise", "taken"), [(0, 0.3, True), (2, 0.3, True), (8, 0.3, False), (14, 0.3, False), (0, 0.003, False), (4, 0.01, False)]
)
def test_eigenvalues_are_taken_only_where_they_lose_nothing(decay, noise, taken):
    one, other = map(moments_of, spread(decay, noise=noise))
    exact = frechet_distance(*one.factor(), *other.factor())
    found = frechet._by_cholesky(*one.covariance(), *other.covariance())
    assert (found is not None) == taken
    if found is not None:
        assert found == pytest.approx(exact, rel=1e-12)
    assert distance_of_moments(one, other) == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize("singular", ["one", "other", "both"])
def test_singular_covariances_are_taken_by_factors(singular):
    before, after = spread(1)
    for name, features in (("one", before), ("other", after)):
        if singular in (name, "both"):
            features[:, 5:9] = 0
    one, other = moments_of(before), moments_of(after)
    assert frechet._by_cholesky(*one.covariance(), *other.covariance()) is None
    assert distance_of_moments(one, other) == pytest.approx(distance_of(before, after), rel=1e-12)


def test_one_side_may_have_more_samples_than_features_and_the_other_fewer():
    before, after = spread(1)
    assert distance_of_moments(moments_of(before), moments_of(after[:20])) == pytest.approx(distance_of(before, after[:20]), rel=1e-12)


def test_moments_of_one_sample_have_no_covariance():
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        moments_of(np.zeros((1, 4))).covariance()
