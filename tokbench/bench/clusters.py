"""Images counted in clusters, so that what is kept for an interval does not grow with their number."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from tokbench.records.intervals import Interval, group_jackknife

CLUSTERS = 64
"""Groups of images are counted in so many clusters at most, by a hash of their names."""


def cluster_of(group: str) -> int:
    """The cluster of a group, from 0 to ``CLUSTERS`` - 1."""
    return hashlib.sha256(group.encode()).digest()[0] % CLUSTERS


def cluster_jackknife(figure: float, of: Callable[[tuple[int, ...]], float], clusters: Sequence[int]) -> Interval | None:
    """Interval of a figure over clusters.

    Args:
        figure: Figure of all.
        of: Computes the figure of the images of some clusters.
        clusters: Those that hold images.

    Returns:
        The interval; None with fewer than five clusters.
    """
    names = [f"{cluster:02d}" for cluster in clusters]
    return named(group_jackknife(figure, lambda kept: of(tuple(c for c, keep in zip(clusters, kept, strict=True) if keep)), names))


def named(interval: Interval | None) -> Interval | None:
    """An interval over groups that are clusters, as one that says so."""
    return interval and Interval(interval.low, interval.high, interval.method.replace("groups", "clusters"))
