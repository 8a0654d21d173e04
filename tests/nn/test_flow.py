"""Rectified flow: schedules, paths, Euler's method and the times that training draws."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from tokbench.nn.flow import euler, fat_lognormal, image_estimate, mix, random_walk_times
from tokbench.nn.schedules import schedule_times, time_of_sigma


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_schedules() -> None:
    assert schedule_times("linear", 4) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert schedule_times("pow_0.25", 2) == [1.0, 0.5**4, 0.0]
    assert schedule_times("pow_1", 5) == pytest.approx(schedule_times("linear", 5))
    assert schedule_times("pow_0.5", 1) == [1.0, 0.0]


@pytest.mark.parametrize("name", ["", "cosine", "pow_", "pow_0", "pow_-1", "pow_0.25 ", "linear1"])
def test_unknown_schedules(name: str) -> None:
    with pytest.raises(ValueError, match="a schedule is 'linear' or 'pow_P'"):
        schedule_times(name, 3)


def test_a_walk_has_steps() -> None:
    with pytest.raises(ValueError, match="steps must be positive, got 0"):
        schedule_times("linear", 0)


@pytest.mark.parametrize(
    ("name", "steps"), [("pow_" + "9" * 400, 8), ("pow_" + "9" * 400, 1), ("pow_0.001", 8), ("pow_1000000000", 8), ("pow_0.00001", 2)]
)
def test_steps_of_no_length_are_refused(name: str, steps: int) -> None:
    with pytest.raises(ValueError, match="has steps of no length, which would do nothing; take P nearer to 1 or fewer steps"):
        schedule_times(name, steps)


def test_more_steps_than_times_are_refused() -> None:
    assert len(schedule_times("linear", 100_000)) == 100_001
    with pytest.raises(ValueError, match="steps must be at most 100000, got 1000000000"):
        schedule_times("linear", 10**9)


def test_the_published_interval_guides_6_of_25_steps() -> None:
    low, high = time_of_sigma(0.17), time_of_sigma(1.02)
    assert (low, high) == pytest.approx((0.1453, 0.5050), abs=1e-4)
    assert sum(low <= time <= high for time in schedule_times("pow_0.25", 25)[:-1]) == 6


def test_ratios_of_noise_to_image_are_times_up_to_an_infinite_one() -> None:
    assert [time_of_sigma(sigma) for sigma in (0.0, 1.0, 3.0, math.inf)] == [0.0, 0.5, 0.75, 1.0]
    for sigma in (-0.1, math.nan, -math.inf):
        with pytest.raises(ValueError, match="a number from 0"):
            time_of_sigma(sigma)


def test_path_and_estimate_are_inverse() -> None:
    image, noise = torch.randn(3, 2, 4, generator=generator(1)), torch.randn(3, 2, 4, generator=generator(2))
    times = torch.tensor([0.0, 0.4, 1.0])
    state = mix(image, noise, times)
    assert torch.equal(state[0], image[0])
    assert torch.equal(state[2], noise[2])
    torch.testing.assert_close(image_estimate(state, noise - image, times), image)


@pytest.mark.parametrize("per_image", [False, True])
def test_euler_follows_a_straight_line_exactly_and_a_curve_step_by_step(per_image: bool) -> None:
    image, noise = torch.randn(2, 5, generator=generator(1)), torch.randn(2, 5, generator=generator(2))
    if per_image:
        times = list(random_walk_times(2, 6, generator(3)).unbind(1))
    else:
        times = [torch.tensor([time]) for time in schedule_times("pow_0.25", 6)]
    states = list(euler(lambda state, time: noise - image, noise, times))
    assert len(states) == 6
    torch.testing.assert_close(states[-1], image)

    seen: list[Tensor] = []

    def curve(state: Tensor, time: Tensor) -> Tensor:
        seen.append(time)
        return state * time[:, None]

    last = list(euler(curve, noise, times))[-1]
    expected = noise.double()
    for now, then in pairwise(times):
        expected = expected - (now - then).double()[:, None] * expected * now.double()[:, None]
    torch.testing.assert_close(last.double(), expected, atol=1e-5, rtol=0)
    assert all(torch.equal(a, b) for a, b in zip(seen, times[:-1], strict=True))


def test_training_times_are_logistic_normal_with_a_uniform_share() -> None:
    times = fat_lognormal(200_000, generator())
    assert float(times.min()) >= 0
    assert float(times.max()) <= 1
    uniform = fat_lognormal(200_000, generator(), uniform_share=1.0)
    normal = fat_lognormal(200_000, generator(), uniform_share=0.0)
    edges = torch.linspace(0, 1, 21)
    share = [torch.histogram(values, edges).hist / len(values) for values in (times, normal, uniform)]
    torch.testing.assert_close(share[0], 0.9 * share[1] + 0.1 * share[2], atol=3e-3, rtol=0)
    torch.testing.assert_close(share[2], torch.full((20,), 0.05), atol=3e-3, rtol=0)
    assert float(normal.logit().std()) == pytest.approx(1.0, abs=0.01)
    shifted = fat_lognormal(200_000, generator(), uniform_share=0.0, mean=1.5)
    torch.testing.assert_close(shifted.logit(), normal.logit() + 1.5, atol=1e-2, rtol=1e-4)
    assert torch.equal(fat_lognormal(9, generator(7)), fat_lognormal(9, generator(7)))


def test_random_walks_fall_from_one_to_zero() -> None:
    times = random_walk_times(50, 8, generator())
    assert times.shape == (50, 9)
    assert torch.equal(times[:, 0], torch.ones(50))
    assert torch.equal(times[:, -1], torch.zeros(50))
    assert bool((times.diff(dim=1) < 0).all())
    assert float((times[0] - times[1]).abs().max()) > 0.01
