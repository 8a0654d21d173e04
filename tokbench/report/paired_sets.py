"""Figures of whole sets, such as Fréchet distances, compared on the same images: a jackknife of the difference, group by group; no torch.

    error^2 = (g - 1) / g * sum over groups of (d - mean d)^2,   d = figure of one without the group - figure of the other without it

What images are in the set moves both figures alike, and falls out of the differences. Records keep what their figures are without each group,
which the intervals are made of anyway; nothing is computed again.

Source: Efron and Stein 1981, "The Jackknife Estimate of Variance". Groups of unlike size count alike, as in the intervals of records.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tokbench.records.intervals import FEWEST_FOLDS, LEVEL, Interval, jackknife_interval
from tokbench.records.record import Record
from tokbench.records.store import WITHOUT, Rows


@dataclass(frozen=True)
class SetDifference:
    """A difference of figures of whole sets.

    Args:
        value: The difference.
        interval: 95 %.
        p: Two-sided, by Student's t of the jackknife's error.
        groups: Groups that were left out one by one.
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
    columns = [rows.get(key + WITHOUT, {}) for _, _, rows in sides]
    values = [record.metrics[key].value for _, record, _ in sides]
    names = sorted(columns[0])
    if not names or any(column.keys() != columns[0].keys() for column in columns) or None in values:
        return None
    groups = _groups(sides[0][1], names)
    if groups is None:
        return None
    by_group = [{groups[name]: column[name] for name in names} for column in columns]
    ordered = sorted(by_group[0])
    estimates = np.array([sum(weight * own[group] for (weight, _, _), own in zip(sides, by_group, strict=True)) for group in ordered])
    value = float(sum(weight * (own or 0.0) for (weight, _, _), own in zip(sides, values, strict=True)))
    if len(ordered) < FEWEST_FOLDS or not np.isfinite([value, *estimates]).all():
        return None
    count = round(len(ordered) * sides[0][1].data.count / len(names))
    interval = jackknife_interval(value, estimates, f"paired jackknife of {len(ordered)} groups", count=max(count, len(ordered)))
    return None if interval is None else SetDifference(value, interval, _p(value, interval, len(ordered)), len(ordered))


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
