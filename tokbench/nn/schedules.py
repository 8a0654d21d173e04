"""Schedules of times for walking a flow; no torch."""

from __future__ import annotations

import math
import re
from array import array
from itertools import pairwise

MOST_STEPS = 100_000
"""Most steps of a walk: single precision cannot tell the times of many more apart."""


def schedule_times(name: str, steps: int) -> list[float]:
    """Times of a walk from noise to image, 1 first and 0 last.

    Args:
        name: ``linear``, or ``pow_P`` for ``((steps - i) / steps) ** (1 / P)``: P below 1 makes steps short near the image.
        steps: Network evaluations, at most ``MOST_STEPS``.

    Raises:
        ValueError: If the name is neither, there are no or too many steps, or a step would have no length in single precision.
    """
    match = re.fullmatch(r"linear|pow_(\d+\.?\d*|\.\d+)", name)
    if match is None or (match[1] and float(match[1]) <= 0):
        raise ValueError(f"a schedule is 'linear' or 'pow_P' with P > 0, e.g. 'pow_0.25'; got {name!r}")
    if steps < 1:
        raise ValueError(f"steps must be positive, got {steps}")
    if steps > MOST_STEPS:
        raise ValueError(f"steps must be at most {MOST_STEPS}, got {steps}")
    exponent = 1.0 / float(match[1]) if match[1] else 1.0
    times = [((steps - i) / steps) ** exponent for i in range(steps + 1)]
    if any(now <= then for now, then in pairwise(array("f", times))):
        raise ValueError(
            f"{name[:40]} with {steps} steps has steps of no length, which would do nothing; take P nearer to 1 or fewer steps"
        )
    return times


def time_of_sigma(sigma: float) -> float:
    """The time at which the ratio of noise to image is ``sigma``, from 0; an infinite ratio is all noise, at time 1.

    Raises:
        ValueError: If there is no such ratio.
    """
    if not sigma >= 0:
        raise ValueError(f"a ratio of noise to image is a number from 0, got {sigma}")
    return 1.0 if math.isinf(sigma) else sigma / (1.0 + sigma)
