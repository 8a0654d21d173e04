"""Kernel distance against two independent computations, its lack of bias, and the metric on real features."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tokbench.bench import kernel
from tokbench.bench.context import MetricContext
from tokbench.bench.kernel import kernel_distance, kernel_distances_without
from tokbench.bench.metrics.fd_efflite0 import FDEffLite0
from tokbench.bench.metrics.kd_efflite0 import KDEffLite0
from tokbench.bench.metrics.kid import KID
from tokbench.bench.networks import efficientnet_lite0
from tokbench.bench.observation import Subject


def slow_distance(one: np.ndarray, other: np.ndarray, *, paired: bool = False) -> float:
    """Pair by pair, as it is written down."""

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return (math.fsum(a * b for a, b in zip(x.tolist(), y.tolist(), strict=True)) / len(x) + 1) ** 3

    n, m = len(one), len(other)
    xx = math.fsum(k(one[i], one[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = math.fsum(k(other[i], other[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    pairs = [(i, j) for i in range(n) for j in range(m) if not paired or i != j]
    return xx + yy - 2 * math.fsum(k(one[i], other[j]) for i, j in pairs) / len(pairs)


def samples(count: int, dim: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(loc=shift, size=(count, dim))


@pytest.mark.parametrize(("n", "m"), [(2, 2), (9, 14), (17, 5)])
def test_it_is_the_sum_over_pairs(n: int, m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = samples(n, 6, 0), samples(m, 6, 1, 0.3)
    assert kernel_distance(one, other) == pytest.approx(slow_distance(one, other), rel=1e-12)
    monkeypatch.setattr(kernel, "BLOCK", 4)
    assert kernel_distance(one, other) == pytest.approx(slow_distance(one, other), rel=1e-12)
    assert kernel_distance(one, one[::-1], paired=True) == pytest.approx(slow_distance(one, one[::-1], paired=True), rel=1e-12)


def test_it_is_that_of_torchmetrics() -> None:
    from torchmetrics.image.kid import poly_mmd

    one, other = samples(60, 1280, 0), samples(60, 1280, 1, 0.1)
    expected = poly_mmd(torch.from_numpy(one), torch.from_numpy(other), degree=3, gamma=None, coef=1.0)
    assert kernel_distance(one, other) == pytest.approx(float(expected), rel=1e-9)


def test_it_is_that_of_torch_fidelity() -> None:
    package = pytest.importorskip("torch_fidelity.metric_kid")
    one, other = samples(60, 128, 0), samples(60, 128, 1, 0.1)
    found = package.kid_features_to_metric(
        torch.from_numpy(one), torch.from_numpy(other), kid_subsets=1, kid_subset_size=60, rng_seed=0, verbose=False
    )
    assert kernel_distance(one, other) == pytest.approx(found["kernel_inception_distance_mean"], rel=1e-9)
    subsets = package.kid_features_to_metric(
        torch.from_numpy(one), torch.from_numpy(other), kid_subsets=2000, kid_subset_size=20, rng_seed=0, verbose=False
    )
    error = subsets["kernel_inception_distance_std"] / math.sqrt(2000)
    assert kernel_distance(one, other) == pytest.approx(subsets["kernel_inception_distance_mean"], abs=4 * error)


def test_few_samples_of_one_distribution_are_not_apart_on_average() -> None:
    rng = np.random.default_rng(0)
    found = [kernel_distance(rng.normal(size=(6, 4)), rng.normal(size=(6, 4))) for _ in range(3000)]
    assert abs(np.mean(found)) < 4 * np.std(found) / math.sqrt(len(found))
    assert min(found) < 0


def test_paired_sets_are_not_drawn_below_0_by_their_pairs() -> None:
    rng = np.random.default_rng(0)
    assert kernel_distance(one := samples(8, 5, 0), one, paired=True) == 0
    assert kernel_distance(one, one) < 0
    firsts = [rng.normal(size=(6, 4)) for _ in range(3000)]
    noisy = [kernel_distance(one, rng.normal(size=(6, 4)) * 0.6 + one * 0.8, paired=True) for one in firsts]  # the same distribution
    assert abs(np.mean(noisy)) < 4 * np.std(noisy) / math.sqrt(len(noisy))


@pytest.mark.parametrize("paired", [True, False])
def test_without_a_group_it_is_that_of_the_others(paired: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "BLOCK", 5)
    one, other = samples(17, 6, 0).astype(np.float32), samples(17, 6, 1, 0.3).astype(np.float32)
    groups = [*"abbccccdd", *"aebbceddd"[:8]]
    value, without = kernel_distances_without(one, other, groups, paired=paired)
    assert value == pytest.approx(slow_distance(one, other, paired=paired), rel=1e-12)
    for name, found in zip("abcde", without, strict=True):
        rest = [place for place, group in enumerate(groups) if group != name]
        assert found == pytest.approx(slow_distance(one[rest], other[rest], paired=paired), rel=1e-11)


def test_groups_that_leave_too_few_are_refused() -> None:
    with pytest.raises(ValueError, match="4 samples without a group of 3 are too few for a kernel distance"):
        kernel_distances_without(samples(4, 3, 0), samples(4, 3, 1), ["a", "a", "a", "b"])
    with pytest.raises(ValueError, match="paired sets have as many samples"):
        kernel_distances_without(samples(4, 3, 0), samples(5, 3, 1), ["a", "b", "c", "d"])


@pytest.mark.parametrize(("one", "other", "paired"), [((1, 3), (4, 3), False), ((4, 3), (4, 2), False), ((4, 3), (5, 3), True)])
def test_what_has_no_distance_is_refused(one: tuple[int, int], other: tuple[int, int], paired: bool) -> None:
    with pytest.raises(ValueError, match=r"a kernel distance needs two sets|paired sets have as many samples"):
        kernel_distance(np.zeros(one), np.zeros(other), paired=paired)


def test_the_metric_is_that_of_its_features(crops, observe) -> None:
    metric = KDEffLite0.create(MetricContext(torch.device("cpu"), micro_batch=8))
    blurred = torch.nn.functional.avg_pool2d(crops.float(), 3, 1, 1).to(torch.uint8)
    metric.update(observe(crops, blurred, [f"{i:03d}" for i in range(len(crops))]))
    features = efficientnet_lite0(torch.device("cpu")).features
    before, after = (torch.cat([features(part) for part in images.split(8)]).numpy() for images in (crops, blurred))
    figure = metric.report()["kd_efflite0"]
    assert figure.value == pytest.approx(slow_distance(before, after, paired=True), rel=1e-6)
    assert figure.value > 0
    assert metric.not_applicable(Subject(None, 1, (64, 64))) == "one image; a kernel distance needs at least 2"
    assert metric.not_applicable(Subject(None, 2, (64, 64))) is None


def test_originals_are_at_0(crops, observe) -> None:
    metric = KDEffLite0.create(MetricContext(torch.device("cpu"), micro_batch=8))
    metric.update(observe(crops, crops, [f"{i:03d}" for i in range(len(crops))]))
    assert metric.compute()["kd_efflite0"] == pytest.approx(0, abs=1e-12)


def test_two_metrics_on_one_network_compute_features_once(crops, observe, monkeypatch: pytest.MonkeyPatch) -> None:
    context = MetricContext(torch.device("cpu"), micro_batch=8)
    one, other = KDEffLite0.create(context), FDEffLite0.create(context)
    seen = observe(crops, crops, [f"{i:03d}" for i in range(len(crops))])
    one.update(seen)
    for name in ("features_of", "features_by_key"):
        monkeypatch.setattr(f"tokbench.bench.metrics.features.{name}", lambda *_, **__: pytest.fail("computed again"))
    other.update(seen)
    assert torch.equal(one.all_rows("features"), other.all_rows("features"))


def test_kid_is_that_of_torch_fidelity_on_the_same_pictures(lively_inception, crops, observe) -> None:
    package = pytest.importorskip("torch_fidelity.metric_kid")
    path, network = lively_inception
    metric = KID.create(MetricContext(torch.device("cpu"), micro_batch=8, feature_weights=path))
    blurred = torch.nn.functional.avg_pool2d(crops[:12].float(), 3, 1, 1).to(torch.uint8)
    metric.update(observe(crops[:12], blurred))
    with torch.no_grad():
        before, after = (network(images)[0].double() for images in (crops[:12], blurred))
    found = package.kid_features_to_metric(after, before, kid_subsets=1, kid_subset_size=12, rng_seed=0, verbose=False)
    (key,) = metric.report()
    assert key.startswith("kd[inception:")
    assert KID.figure_names() == ("kid",)
    assert metric.compute()[key] == pytest.approx(found["kernel_inception_distance_mean"], rel=1e-4)
    assert "all pairs but those of an image with itself, float64" in metric.settings["kernel"]
