"""Fréchet distance against 40-digit values, and its accumulator against one-shot statistics."""

import json

import numpy as np
import pytest
import scipy.linalg

from tokbench.bench.frechet import FeatureMoments, covariance_factor, frechet_distance, sample_factor


def distance_of(x, y, chunks=7):
    sides = []
    for features in (x, y):
        moments = FeatureMoments(features.shape[1])
        for part in np.array_split(features, chunks):
            moments.update(part)
        sides.append(moments)
    return frechet_distance(*sides[0].factor(), *sides[1].factor())


@pytest.fixture
def values(goldens):
    return json.loads((goldens / "metrics" / "goldens.json").read_text())["fid"]


def test_all_feature_pairs_to_ten_digits(goldens, values):
    assert len(values["cases"]) >= 4
    for case in values["cases"]:
        x, y = (np.load(goldens / "metrics" / f"{case[key]}.npy") for key in "xy")
        expected = case["values"]["mpmath_40digits"]
        assert distance_of(x, y) == pytest.approx(expected, rel=1e-10, abs=1e-10), case["x"]


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
