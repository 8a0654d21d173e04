"""Distances, held to other ways to compute them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from tokbench.bench.networks import FeatureNetwork
from tokbench.feed.predict.judge import Judge
from tokbench.records.intervals import jackknife_interval

SEEN: list[int] = []


def corners(images: torch.Tensor) -> torch.Tensor:
    SEEN.append(len(images))
    return images[:, :, :2, 0].flatten(1).float()


NETWORK = FeatureNetwork("corners", 6, {"network": "corners"}, corners)


def frechet(one: np.ndarray, other: np.ndarray) -> float:
    """By a root of the product of covariances."""
    first, second = np.cov(one.T), np.cov(other.T)
    root = scipy.linalg.sqrtm(first @ second).real
    return float(((one.mean(axis=0) - other.mean(axis=0)) ** 2).sum() + np.trace(first + second - 2 * root))


@pytest.fixture(scope="module")
def pair() -> tuple[torch.Tensor, torch.Tensor, tuple[str, ...]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (130, 3, 4, 4), generator=generator, dtype=torch.uint8)
    others = torch.randint(0, 200, (130, 3, 4, 4), generator=generator, dtype=torch.uint8)
    return images, others, tuple(f"{place // 10:02d}" for place in range(130))


def test_frechet_distance_and_its_interval(pair) -> None:
    images, others, groups = pair
    judge = Judge(NETWORK, images, groups, micro_batch=16)
    after = judge.features(others.split(16))
    one, other = (batch[:, :, :2, 0].flatten(1).double().numpy() for batch in (images, others))
    value, interval = judge.frechet(after)
    assert value == pytest.approx(frechet(one, other), rel=1e-6)
    keep = [np.array([name != group for name in groups]) for group in sorted(set(groups))]
    without = np.array([frechet(one[kept], other[kept]) for kept in keep])
    expected = jackknife_interval(value, without, "")
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), rel=1e-4)
    assert interval.method == "jackknife of 13 groups"


def test_kernel_distance_leaves_out_pairs_of_one_image(pair) -> None:
    images, others, groups = (part[:20] for part in pair)
    judge = Judge(NETWORK, images, groups, micro_batch=16)
    value, interval = judge.kernel(judge.features(others.split(16)))
    one, other = (batch[:, :, :2, 0].flatten(1).double().numpy() for batch in (images, others))

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.mean([(a @ b / 6 + 1) ** 3 for i, a in enumerate(x) for j, b in enumerate(y) if i != j]))

    assert value == pytest.approx(kernel(one, one) + kernel(other, other) - 2 * kernel(one, other))
    assert interval is None  # of two groups
    assert judge.kernel(judge.before)[0] == pytest.approx(0, abs=1e-6)


def test_few_images_have_no_distance_and_micro_batches_are_whole(pair) -> None:
    SEEN.clear()
    judge = Judge(NETWORK, pair[0][:3], pair[2][:3], micro_batch=2)
    assert SEEN == [2, 2]
    assert judge.frechet(judge.before) is None
    single = Judge(NETWORK, pair[0][:1], pair[2][:1], micro_batch=2)
    assert single.kernel(single.before) is None
