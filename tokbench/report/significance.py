"""Whether one record is better than others by more than chance: tests on differences paired by image, over groups of images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tokbench.configs import canonical_json
from tokbench.records.intervals import LEVEL, Interval, group_bootstrap
from tokbench.records.record import MetricResult, Record
from tokbench.records.store import Rows
from tokbench.report.comparable import COUNTED, MICRO_BATCH, plain_settings
from tokbench.report.paired_sets import of_whole_set, paired_p
from tokbench.report.sections import place_of
from tokbench.report.words import counted

ALPHA = 1 - LEVEL
EXACT_BLOCKS, FLIPS, MAX_BLOCKS = 12, 9999, 1024
"""All patterns of signs up to so many blocks, else so many random ones; more groups than the last are dealt into that many."""

FEWEST_GROUPS = 6
"""Below so many, no pattern of signs is rarer than 5 %, whatever the differences."""

FEWEST_DEGREES = 4
"""Fewest degrees of freedom that an interval in a record may have had (a jackknife of five folds), for its tails when they are corrected."""


@dataclass(frozen=True)
class PairedDifference:
    """The first minus the second, image by image.

    Args:
        mean: Over the images for which both values are finite; of none NaN, or 0 if all are the same.
        interval: 95 %, resampling whole groups; None with fewer than two groups or with infinite differences.
        p: Two-sided, of a test that flips the signs of whole groups.
        images: How many both have.
        groups: What they are samples of.
        sign: Where the tested groups lean: 1 if the first is larger, -1 if it is smaller, else 0.
        above: Images whose difference is infinite, as the first alone is: exact in the first only, for decibels.
        below: Images whose difference is minus infinity, as the second alone is exact.
    """

    mean: float
    interval: Interval | None
    p: float
    images: int
    groups: int
    sign: int = 0
    above: int = 0
    below: int = 0

    @property
    def significant(self) -> bool:
        """Whether the test rejects at 5 % and the interval, where there is one, leaves zero out."""
        return self.p <= ALPHA and (self.interval is None or self.interval.low > 0 or self.interval.high < 0)


def too_few(images: int, groups: int) -> str | None:
    """Warn of data that are too few for intervals and tests to mean much; None where they are not.

    Args:
        images: Measured.
        groups: What they are samples of.
    """
    if images == 1:
        return "measured on 1 image: there are no intervals, and other images may give any other figure"
    if groups < FEWEST_GROUPS:
        return f"{counted(images, 'image')} of {counted(groups, 'group')}: intervals over fewer than {FEWEST_GROUPS} groups mean little, and no difference paired by image is beyond chance"
    return None


def image_groups(record: Record, ids: Iterable[str]) -> dict[str, str] | None:
    """Say what each image is a sample of, from its id and the number of groups the record counted.

    Args:
        record: Record of the run that measured the images.
        ids: All of them.

    Returns:
        Image id to group: itself, or, for crops named ``PHOTO/NN``, the photo. None if neither gives that number of groups.
    """
    ids = list(ids)
    for groups in ({name: name for name in ids}, {name: name.rpartition("/")[0] for name in ids}):
        if len(set(groups.values())) == record.data.groups:
            return groups
    return None


def paired_difference(
    first: Mapping[str, float], second: Mapping[str, float], groups: Mapping[str, str] | None, *, seed: int = 0
) -> PairedDifference | None:
    """Compare two records on the images both have.

    Two equal infinities differ by nothing and are left out of the mean. Where a difference is infinite, it is left out of the mean too,
        and counted. The test then takes the sign of each group alone: how much better than any number something is has no size.

    Args:
        first: Image id to value; NaN and None count as missing.
        second: Values of the other, by image.
        groups: Image id to what it is a sample of; None takes every image by itself.
        seed: Seed of the random signs, where there are too many groups to try all.

    Returns:
        The difference; None if they share no image.
    """
    first, second = numbers_of(first), numbers_of(second)
    ids = sorted(first.keys() & second.keys())
    if not ids:
        return None
    differences = np.array([0.0 if first[name] == second[name] else first[name] - second[name] for name in ids])
    of = [name if groups is None else groups.get(name, name) for name in ids]
    number = {group: i for i, group in enumerate(sorted(set(of)))}
    blocks = np.array([number[group] % MAX_BLOCKS for group in of])
    finite = np.array([math.isfinite(first[name]) and math.isfinite(second[name]) for name in ids])
    above, below = int((differences == math.inf).sum()), int((differences == -math.inf).sum())
    within = not above and not below
    interval = group_bootstrap(differences[finite].tolist(), list(map(str, blocks[finite]))) if within and finite.any() else None
    with np.errstate(invalid="ignore", over="ignore"):  # opposite infinities, and values near the largest
        sums = np.bincount(blocks, weights=differences)
        mean = float(differences[finite].mean()) if finite.any() else math.nan if differences.any() else 0.0
    p, sign = _sign_flip_test(sums, seed)
    return PairedDifference(mean, interval, p, len(ids), len(number), sign, above, below)


def paired_best(
    rows_by_record: Sequence[Mapping[str, float]], groups: Mapping[str, str] | None, *, higher_is_better: bool, seed: int = 0
) -> list[bool]:
    """Find the record that is better than every other by more than chance.

    The record with the best mean is compared with each other one by flipping the signs of the groups' differences. Infinities count as a
    little more than the largest value. With few groups it is every pattern of signs, and fewer than six can never be significant. With
    many it is random patterns. The p-values are corrected after Holm, together at 95 %.

    Args:
        rows_by_record: Image id to value of one metric, for each record. Those without values take no part.
        groups: Image id to what it is a sample of (crops of one photo are correlated); None takes every image by itself.
        higher_is_better: Direction of the metric.
        seed: Seed of the random signs; the same seed gives the same answer in any order of records.

    Returns:
        One flag a record, at most one of them true. All are false with fewer than two records, and where records were
        measured on different images: their means do not compare.
    """
    best = [False] * len(rows_by_record)
    columns = {i: values for i, rows in enumerate(rows_by_record) if (values := numbers_of(rows))}
    if len(columns) < 2 or len({frozenset(column) for column in columns.values()}) > 1:
        return best
    bound = max((abs(value) for column in columns.values() for value in column.values() if math.isfinite(value)), default=0.0) + 1.0
    means = {i: _mean({name: min(max(value, -bound), bound) for name, value in column.items()}) for i, column in columns.items()}
    sign = 1 if higher_is_better else -1
    winner = max(means, key=lambda i: sign * means[i])
    found = [paired_difference(columns[winner], columns[i], groups, seed=seed) for i in columns if i != winner]
    best[winner] = all_rejected([1.0 if one is None or one.sign != sign else one.p for one in found])
    return best


def significantly_best(records: Sequence[Record], rows: Sequence[Rows], key: str, *, seed: int = 0) -> list[bool]:
    """Find the record whose figure is better than every other's by more than chance.

    Where all records with the figure have per-image values, see ``paired_best``. A figure of the whole set, such as a Fréchet distance,
    is compared by a jackknife of the difference, where records hold what that takes, see ``set_difference``. Else 95 % intervals tell, of
    which that of a difference is put together as if the two were independent. For runs over the same images this is
    wider than it need be. P-values follow by Student's t with the fewest degrees of freedom. All are corrected after Holm. Without
    intervals there is no best.

    Args:
        records: To be compared.
        rows: The per-image values of each, as ``read_rows`` returns them.
        key: Key of the metric.
        seed: Seed of the random signs.

    Returns:
        One flag a record, at most one of them true. All are false if the metric has no direction, if fewer than two have it, or if
        protocol, images or settings of the metric differ.

    Raises:
        ValueError: If records and rows are not equally many.
    """
    if len(records) != len(rows):
        raise ValueError(f"{len(records)} records with {len(rows)} sets of rows")
    best = [False] * len(records)
    figures = {i: metric for i, record in enumerate(records) if (metric := record.metrics.get(key)) and metric.measured}
    if len(figures) < 2 or not _comparable([records[i] for i in figures], list(figures.values())):
        return best
    higher = next(iter(figures.values())).higher_is_better
    if higher is None:
        return best
    columns = {i: numbers_of(rows[i].get(key, {})) for i in figures}
    if all(columns.values()) and not any(of_whole_set(rows[i], key) for i in figures):
        first = next(iter(columns))
        groups = image_groups(records[first], columns[first])
        if groups is not None:
            flags = paired_best(list(columns.values()), groups, higher_is_better=higher, seed=seed)
            for i, flag in zip(columns, flags, strict=True):
                best[i] = flag
        return best
    if any(metric.exact for metric in figures.values()):  # means of other images each
        return best
    sign = 1 if higher else -1
    winner = max(figures, key=lambda i: sign * (figures[i].value or 0.0))
    others = [i for i in figures if i != winner]
    paired = [paired_p((records[winner], rows[winner]), (records[i], rows[i]), key) for i in others]
    found = [_p_of_intervals(figures[winner], figures[i]) if p is None else p for i, p in zip(others, paired, strict=True)]
    best[winner] = all_rejected(found)
    return best


def interval_of_difference(first: MetricResult, second: MetricResult) -> Interval | None:
    """Put the 95 % interval of a difference together from those of its sides, as if they were independent.

    Args:
        first: A figure.
        second: What is subtracted from it.

    Returns:
        The interval; None if a side has no figure or no interval.

    Source:
        Zou and Donner 2008, method of variance estimates recovery.
    """
    if first.value is None or second.value is None or first.interval is None or second.interval is None:
        return None
    difference = first.value - second.value
    below = math.hypot(first.value - first.interval.low, second.interval.high - second.value)
    above = math.hypot(first.interval.high - first.value, second.value - second.interval.low)
    if not all(map(math.isfinite, (difference, below, above))):
        return None
    return Interval(difference - below, difference + above, "both intervals, as if independent")


def numbers_of(rows: Mapping[str, float]) -> dict[str, float]:
    """Those values that are there and are numbers, infinity included."""
    return {name: value for name, value in rows.items() if value is not None and not math.isnan(value)}


def _mean(rows: Mapping[str, float]) -> float:
    values = [rows[name] for name in sorted(rows)]
    return sum(values) if not all(map(math.isfinite, values)) else math.fsum(value / len(values) for value in values)


def _comparable(records: Sequence[Record], figures: Sequence[MetricResult]) -> bool:
    first, figure = records[0], figures[0]
    same_run = all(place_of(record) == place_of(first) for record in records)
    return same_run and all(_settings(f) == _settings(figure) and f.higher_is_better == figure.higher_is_better for f in figures)


def _settings(figure: MetricResult) -> str:
    counts = {key: figure.settings.get(key) for key in COUNTED if key != MICRO_BATCH}
    return canonical_json(plain_settings(figure) | counts)


def _sign_flip_test(sums: np.ndarray, seed: int) -> tuple[float, int]:
    """Two-sided p of the sum, when the sign of every addend is as likely one as the other; and the sum's own sign."""
    if np.isnan(sums).any():
        return 1.0, 0
    if np.isinf(sums).any():
        sums = np.sign(sums)
    return _p_of_flips(sums, seed), int(np.sign(sums.sum()))


def _p_of_flips(sums: np.ndarray, seed: int) -> float:
    sums = sums[sums != 0]
    threshold = abs(sums.sum()) - 1e-12 * np.abs(sums).sum()  # patterns that tie do so up to rounding
    if len(sums) <= EXACT_BLOCKS:
        flipped = (np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums))) & 1
        return float(np.mean(np.abs(sums.sum() - 2 * flipped @ sums) >= threshold))
    generator = np.random.Generator(np.random.PCG64(seed))
    count = 0
    for start in range(0, FLIPS, 1000):
        flipped = generator.integers(0, 2, size=(min(1000, FLIPS - start), len(sums)), dtype=np.int8).astype(np.float64)
        count += int((np.abs(sums.sum() - 2 * flipped @ sums) >= threshold).sum())
    return (1 + count) / (1 + FLIPS)


def _p_of_intervals(first: MetricResult, second: MetricResult) -> float:
    from scipy.stats import t

    interval = interval_of_difference(first, second)
    if interval is None or first.value is None or second.value is None:
        return 1.0
    difference = first.value - second.value
    half = difference - interval.low if difference > 0 else interval.high - difference
    if half == 0:
        return 0.0 if difference else 1.0
    return float(2 * t.sf(abs(difference) / half * t.ppf(1 - ALPHA / 2, FEWEST_DEGREES), FEWEST_DEGREES))


def all_rejected(p_values: Sequence[float]) -> bool:
    """Say whether Holm's procedure rejects every hypothesis, together at 5 %.

    Args:
        p_values: One a hypothesis, in any order.
    """
    count = len(p_values)
    return all(p <= ALPHA / (count - i) for i, p in enumerate(sorted(p_values)))
