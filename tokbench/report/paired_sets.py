"""Figures of whole sets, such as Fréchet distances, compared on the same images: a jackknife of the difference, group by group; no torch.

    error^2 = (g - 1) / g * sum over groups of (d - mean d)^2,   d = figure of one without the group - figure of the other without it

What images are in the set moves both figures alike, and falls out of the differences. Records keep what their figures are without each group,
which the intervals are made of anyway; nothing is computed again.

Source: Efron and Stein 1981, "The Jackknife Estimate of Variance". Groups of unlike size count alike, as in the intervals of records.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tokbench.records.intervals import FEWEST_FOLDS, LEVEL, Interval, jackknife_interval
from tokbench.records.left_out import WITHOUT, Part, parts_of
from tokbench.records.record import Record
from tokbench.records.store import Rows

PARTS: dict[Part, str] = {"group": "groups", "cluster": "clusters", "tenth": "tenths of the groups"}
"""What parts are called."""


@dataclass(frozen=True)
class SetDifference:
    """A difference of figures of whole sets.

    Args:
        value: The difference.
        interval: 95 %.
        p: Two-sided, by Student's t of the jackknife's error.
        groups: Groups, or clusters of these, that were left out one by one.
    """

    value: float
    interval: Interval
    p: float
    groups: int

    @property
    def significant(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.interval.low > 0 or self.interval.high < 0


def set_difference(sides: Sequence[tuple[float, Record, Rows]], key: str) -> SetDifference | None:
    """Judge a weighted sum of figures of records of the same images, such as a difference.

    Args:
        sides: A weight, a record with the figure, and its rows: 1 and -1 for a difference of two.
        key: Key of the figure.

    Returns:
        The sum; None where a record does not say what its figure is without each group, or it is of other images.
    """
    found = left_out([(record, rows) for _, record, rows in sides], key)
    values = [record.metrics[key].value for _, record, _ in sides]
    if found is None or None in values:
        return None
    estimates = found.estimates @ np.array([weight for weight, _, _ in sides])
    value = float(sum(weight * (own or 0.0) for (weight, _, _), own in zip(sides, values, strict=True)))
    if not np.isfinite([value, *estimates]).all():
        return None
    interval = jackknife_interval(value, estimates, f"paired jackknife of {found.name}", count=found.count)
    return None if interval is None else SetDifference(value, interval, _p(value, interval, len(estimates)), len(estimates))


@dataclass(frozen=True)
class LeftOut:
    """What a figure of several records of the same images is without each part of these.

    Args:
        estimates: Part by record, ``[parts, records]``.
        count: Parts there are in all, where some were chosen by chance.
        name: How many parts, in words.
    """

    estimates: np.ndarray
    count: int
    name: str

    def resampled(self, values: np.ndarray, picks: np.ndarray) -> np.ndarray:
        """Figures of other images, to first order: parts are drawn with replacement, and each drawn one moves a figure as leaving it out did.

        The standard deviation of what is drawn is the error of the jackknife.

        Args:
            values: The figures, ``[records]``.
            picks: How often each part is drawn in each resample, ``[resamples, parts]``.

        Returns:
            ``[resamples, records]``.
        """
        known = len(self.estimates)
        scale = (self.count - 1) / np.sqrt(self.count * (known - 1))
        moved: np.ndarray = values + scale * (picks @ (self.estimates.mean(axis=0) - self.estimates))
        return moved


def of_whole_set(rows: Rows, key: str) -> bool:
    """Whether a figure is no mean of values of images: beside its record stands what it is without parts of these."""
    return any(key + end in rows for end in WITHOUT.values())


def left_out(sides: Sequence[tuple[Record, Rows]], key: str) -> LeftOut | None:
    """Read what a figure is without each part of the images, beside records of the same images.

    Args:
        sides: Records with the figure, and their rows.
        key: Key of the figure.

    Returns:
        The figures; None if a record does not say that, is of other images or parts, or there are fewer than five parts.
    """
    for part, end in WITHOUT.items():
        columns = [rows.get(key + end, {}) for _, rows in sides]
        if part == "group" and any(columns):
            columns = [column or _of_mean(record, rows, key) for column, (record, rows) in zip(columns, sides, strict=True)]
        names = sorted(columns[0])
        if not names or any(column.keys() != columns[0].keys() for column in columns):
            continue
        groups = _groups(sides[0][0], names)
        if groups is None:
            return None
        part_of = parts_of(part, groups.values())
        by_part = [{part_of[groups[name]]: column[name] for name in names} for column in columns]
        ordered = sorted(by_part[0])
        if len(ordered) < FEWEST_FOLDS:
            return None
        estimates = np.array([[own[name] for own in by_part] for name in ordered])
        count = max(len(ordered), round(len(ordered) * sides[0][0].data.count / len(names)))
        return LeftOut(estimates, count, f"{len(ordered)} {PARTS[part]}")
    return None


def _of_mean(record: Record, rows: Rows, key: str) -> dict[str, float]:
    """What a mean of values of images is without the group of each; empty if it is not known to be their mean."""
    values = rows.get(key, {})
    groups = _groups(record, values) if values and not record.metrics[key].exact else None
    if groups is None or not all(map(math.isfinite, values.values())):
        return {}
    sums: dict[str, float] = {}
    for name, value in values.items():
        sums[groups[name]] = sums.get(groups[name], 0.0) + value
    counts, whole = Counter(groups.values()), math.fsum(values.values())
    if not math.isclose(whole / len(values), record.metrics[key].value or 0.0, rel_tol=1e-6, abs_tol=1e-9):
        return {}
    without = {group: (whole - sums[group]) / (len(values) - count) for group, count in counts.items() if count < len(values)}
    return {name: without[groups[name]] for name in values if groups[name] in without}


def _groups(record: Record, ids: Iterable[str]) -> dict[str, str] | None:
    """The group of each image: itself, or, for crops named ``PHOTO/NN``, the photo; None if neither fits the record."""
    ids, data = list(ids), record.data
    if data.groups == data.count:
        return {name: name for name in ids}
    found = {name: name.rpartition("/")[0] for name in ids}
    return found if 1 < len(set(found.values())) <= data.groups else None


def _p(value: float, interval: Interval, groups: int) -> float:
    from scipy.stats import t

    half = (interval.high - interval.low) / 2
    if half == 0:
        return 0.0 if value else 1.0
    return float(2 * t.sf(abs(value) / half * t.ppf((1 + LEVEL) / 2, groups - 1), groups - 1))


def paired_p(first: tuple[Record, Rows], second: tuple[Record, Rows], key: str) -> float | None:
    """Two-sided p of the difference of two records; None where nothing tells it pair by pair."""
    found = set_difference([(1.0, *first), (-1.0, *second)], key)
    return None if found is None else found.p
