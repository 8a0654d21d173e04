"""Images counted in clusters, so that what is kept for an interval does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tokbench.records.intervals import FEWEST_FOLDS, Interval, group_jackknife


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


def without_clusters(of: Callable[[int], float], clusters: Sequence[int]) -> dict[str, float] | None:
    """What a figure is without each cluster, as ``Figure.without`` has it.

    Args:
        of: Computes the figure without one cluster.
        clusters: Those that hold images.

    Returns:
        Name of the cluster to the figure without it; None with fewer than five clusters.
    """
    return {f"{cluster:02d}": of(cluster) for cluster in clusters} if len(clusters) >= FEWEST_FOLDS else None


def named(interval: Interval | None) -> Interval | None:
    """An interval over groups that are clusters, as one that says so."""
    return interval and Interval(interval.low, interval.high, interval.method.replace("groups", "clusters"))
