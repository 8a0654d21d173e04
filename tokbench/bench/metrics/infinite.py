"""What the Fréchet distances at infinite sample size share: the bias at N, told by what leaving images out changes.

A Fréchet distance of N images is larger than that of infinitely many, by about a constant over N. The jackknife finds the constant without
drawing anything by chance: leaving out one of g groups makes the distance larger by a (g - 1)-th of the bias, on average.

Source: Quenouille 1956, "Notes on bias in estimation". Chong and Forsyth 2020, "Effectively Unbiased FID and Inception Score", fit a line to
distances of random subsets over 1 / N instead.

How sure the bias is shows when it is found anew without each tenth of the groups, which leaves out two parts at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tokbench.bench.frechet import FeatureMoments, distance_of_moments
from tokbench.bench.leave_out import distances_without
from tokbench.bench.metrics.base import Figure
from tokbench.bench.metrics.features import AllFeatures
from tokbench.bench.metrics.frechet import MIN_IMAGES
from tokbench.bench.observation import Subject
from tokbench.counting import counted
from tokbench.records.intervals import FEWEST_FOLDS, jackknife_interval
from tokbench.records.left_out import Part, parts_of

MOST_ONE_BY_ONE = 2048
"""Images up to which every group is left out by itself; of more, a tenth of the groups at once."""


class InfiniteFrechet(AllFeatures):
    """Fréchet distance that infinitely many images would have, and how much the distance of these images is above it.

    Groups are left out as a whole, since crops of one photo tell no more than the photo; with fewer than five, images are.
    """

    @property
    def settings(self) -> dict[str, Any]:
        """The network's settings, and how the bias is found."""
        return super().settings | {"covariance": "ddof 1, float64", "bias": "jackknife"}

    def not_applicable(self, subject: Subject) -> str | None:
        """Few images give no meaningful covariance."""
        if subject.images < MIN_IMAGES:
            return f"{counted(subject.images, 'image')}; a Fréchet distance needs at least {MIN_IMAGES}"
        return None

    def report(self) -> dict[str, Figure]:
        """Return the distance without its bias, and the bias; each has an interval over groups."""
        before, after, groups = self.ordered()
        grouped = len(set(groups)) >= FEWEST_FOLDS
        names = groups if grouped else [f"{place:09d}" for place in range(len(groups))]
        value, without = distance_and_without(before, after, names)
        bias = jackknife_bias(value, without)
        what = f"jackknife of {len(set(names))} {'groups' if grouped else 'images'}"
        method = what if len(without) == len(set(names)) else f"{what} in {len(without)} folds"
        infinite, at_n = (info.key for info in self.figures)
        interval = jackknife_interval(value - bias, without, method) if grouped else None
        part: Part = "group" if what == method else "tenth"
        parts = parts_of(part, names)
        of_part = dict(zip(sorted(set(parts.values())), (without - bias).tolist(), strict=True))
        by_group = {name: of_part[place] for name, place in parts.items()} if grouped else None
        at_infinity = Figure(value - bias, interval, without=by_group, part=part)
        return {infinite: at_infinity, at_n: _figure_of_bias(bias, before, after, names) if grouped else Figure(bias)}


def jackknife_bias(value: float, without: np.ndarray) -> float:
    """How much a figure is above that of infinitely many images, from what it is without each of its parts, ``[g]``."""
    return (len(without) - 1) * (float(without.mean()) - value)


def _figure_of_bias(bias: float, before: np.ndarray, after: np.ndarray, groups: list[str]) -> Figure:
    """The bias with its interval over tenths of the groups."""
    tenth_of = parts_of("tenth", groups)
    of_tenth = biases_without(before, after, groups)
    interval = jackknife_interval(bias, np.array(list(of_tenth.values())), f"jackknife of {len(tenth_of)} groups in {len(of_tenth)} folds")
    return Figure(bias, interval, without={group: of_tenth[tenth] for group, tenth in tenth_of.items()}, part="tenth")


def distance_and_without(before: np.ndarray, after: np.ndarray, groups: list[str]) -> tuple[float, np.ndarray]:
    """Fréchet distance, and what it is without each group, or without each tenth of the groups where images are many.

    Args:
        before: Features of originals, ``[n, d]``.
        after: Features of reconstructions, ``[n, d]``.
        groups: The group of each image.

    Returns:
        The distance, and those without a part, ``[g]``.
    """
    if len(before) <= MOST_ONE_BY_ONE:
        both = _moments(before), _moments(after)
        value = distance_of_moments(*both)
        return value, distances_without(*both, np.stack([before, after], axis=1), groups, value)
    return _of_parts(_tenths(before, after, _tenth_of_each(groups)))


def biases_without(before: np.ndarray, after: np.ndarray, groups: list[str]) -> dict[str, float]:
    """Find the bias at as many images as there are from those of all tenths of the groups but one.

    The bias is a constant over the number of images, so that what fewer images show is scaled by their share.

    Args:
        before: Features of originals, ``[n, d]``.
        after: Features of reconstructions, ``[n, d]``.
        groups: The group of each image.

    Returns:
        Name of the tenth to the bias without it, in the order of their names.
    """
    tenth = _tenth_of_each(groups)
    parts = [] if len(before) <= MOST_ONE_BY_ONE else _tenths(before, after, tenth)
    found = {}
    for place, name in enumerate(np.unique(tenth)):
        kept = tenth != name
        if parts:
            value, without = _of_parts([*parts[:place], *parts[place + 1 :]])
        else:
            value, without = distance_and_without(before[kept], after[kept], [groups[i] for i in np.flatnonzero(kept)])
        found[str(name)] = jackknife_bias(value, without) * float(kept.mean())
    return found


def _tenth_of_each(groups: list[str]) -> np.ndarray:
    """Name of the tenth of every image, ``[n]``."""
    tenth_of = parts_of("tenth", groups)
    return np.array([tenth_of[group] for group in groups])


def _tenths(before: np.ndarray, after: np.ndarray, tenth: np.ndarray) -> list[tuple[FeatureMoments, FeatureMoments]]:
    """Moments of both sides of each tenth, in the order of their names."""
    return [(_moments(before[tenth == name]), _moments(after[tenth == name])) for name in np.unique(tenth)]


def _moments(features: np.ndarray) -> FeatureMoments:
    moments = FeatureMoments(features.shape[1])
    moments.update(features)
    return moments


def _of_parts(parts: list[tuple[FeatureMoments, FeatureMoments]]) -> tuple[float, np.ndarray]:
    """Distance of the images of several parts, and what it is without each, ``[g]``."""
    return _distance(parts), np.array([_distance([*parts[:i], *parts[i + 1 :]]) for i in range(len(parts))])


def _distance(parts: list[tuple[FeatureMoments, FeatureMoments]]) -> float:
    """Distance of the images of several parts."""
    before, after = FeatureMoments(parts[0][0].dim), FeatureMoments(parts[0][0].dim)
    for one, other in parts:
        before.merge(one)
        after.merge(other)
    return distance_of_moments(before, after)
