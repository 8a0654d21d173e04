"""Rectified flow: the path between image and noise, Euler's method and the distributions of training times, as plain functions.

An image x and noise z are joined by the straight line ``(1 - t) x + t z``; a network is trained to tell the line's velocity
``z - x``. Decoding walks from t = 1 down to t = 0.

Papers: Liu et al., "Flow Straight and Fast", 2022; Sargent et al., "Flow to the Mode", 2025 (training times).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from tokbench.sending import moved

Velocity = Callable[[Tensor, Tensor], Tensor]
"""State ``[B, ...]`` and times ``[B]`` or ``[1]`` to the velocity of the state's shape."""


def mix(images: Float[Tensor, " b *s"], noise: Float[Tensor, " b *s"], times: Float[Tensor, " b"]) -> Float[Tensor, " b *s"]:
    """The point between image (time 0) and noise (time 1)."""
    t = _aligned(times, images)
    return (1 - t) * images + t * noise


def image_estimate(state: Float[Tensor, " b *s"], velocity: Float[Tensor, " b *s"], times: Float[Tensor, " b"]) -> Float[Tensor, " b *s"]:
    """Where the line through a state ends at time 0."""
    return state - _aligned(times, state) * velocity


def euler(velocity: Velocity, noise: Float[Tensor, " b *s"], times: Sequence[Tensor]) -> Iterator[Float[Tensor, " b *s"]]:
    """Walk along a velocity, one Euler step between neighbouring times.

    Args:
        velocity: Called once a step with the state and the time the step starts from.
        noise: The state at the first time.
        times: Each ``[1]`` or ``[B]``.

    Yields:
        The state after every step.
    """
    state = noise
    for now, then in pairwise(times):
        state = state - _aligned(now - then, state) * velocity(state, now)
        yield state


def fat_lognormal(count: int, generator: torch.Generator, *, uniform_share: float = 0.1, mean: float = 0.0) -> Float[Tensor, " n"]:
    """Draw training times: the logistic of a normal with deviation 1, but uniform on [0, 1] for a share of the draws.

    Source: kylesargent/FlowMo, the time distribution it names ``fat_lognormal``.
    """
    normal = (torch.randn(count, generator=generator) + mean).sigmoid()
    uniform = torch.rand(count, generator=generator)
    return torch.where(torch.rand(count, generator=generator) < uniform_share, uniform, normal)


def random_walk_times(count: int, steps: int, generator: torch.Generator) -> Float[Tensor, "n k"]:
    """Draw, for each image, the times of a walk of ``steps`` steps from 1 to 0, for training through the whole walk.

    Source: FlowMo's post-training: a cumulative sum of uniform draws, shifted and scaled to begin at 0 and end at 1, reversed.
    """
    sums = torch.rand(count, steps + 1, generator=generator).cumsum(dim=1)
    sums = sums - sums[:, :1]
    return (sums / sums[:, -1:]).flip(1)


def _aligned(times: Tensor, like: Tensor) -> Tensor:
    return moved(times, like.device).to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))
