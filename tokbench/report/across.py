"""Tokenizers across data sets: who was measured on what, and how each stands in a figure over all of them; no torch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tokbench.escapes import visible
from tokbench.records.intervals import LEVEL, RESAMPLES, Interval
from tokbench.records.record import Record
from tokbench.records.store import Rows
from tokbench.report.comparable import with_other_settings
from tokbench.report.paired_sets import left_out, of_whole_set
from tokbench.report.sections import place_of, told_apart
from tokbench.report.significance import all_rejected, image_groups, numbers_of
from tokbench.report.subjects import names_of
from tokbench.report.words import counted

BLOCK = 4_000_000
"""Numbers of one piece of the resamples, so that 50,000 images take little memory."""

DIGITS = 12
"""Digits at which resampled figures are equal: what is the same in two records ties in each resample."""


@dataclass(frozen=True)
class Place:
    """One data set under one protocol, and the records of it.

    Args:
        label: Name of the data, with what tells it from others of that name.
        members: Name of the tokenizer to the record's place among all.
    """

    label: str
    members: dict[str, int]


@dataclass(frozen=True)
class Standing:
    """How a tokenizer stands in a figure over data sets.

    Args:
        mean: Mean of the figure over them, each of the same weight; infinite if all are, None if some are, which no number says.
        rank: Mean of its ranks, 1 the best; those that tie share the mean of their ranks.
        interval: 95 % interval of that.
        best: Whether its mean rank is the best by more than chance.
    """

    mean: float | None
    rank: float
    interval: Interval | None
    best: bool = False


def places_of(records: Sequence[Record]) -> list[Place]:
    """Put records together by data set and protocol.

    Args:
        records: In any order.

    Returns:
        One for each, in the order of their first records. A tokenizer has the same name in all.
    """
    names = names_of([record.tokenizer for record in records])
    found: dict[object, list[int]] = {}
    for i, record in enumerate(records):
        found.setdefault(place_of(record), []).append(i)
    labels = _labels([records[members[0]] for members in found.values()])
    return [
        Place(label, dict(zip(told_apart([names[i] for i in members]), members, strict=True)))
        for label, members in zip(labels, found.values(), strict=True)
    ]


def subjects_of(places: Sequence[Place]) -> list[str]:
    """Names of all tokenizers, in the order they come."""
    return list(dict.fromkeys(name for place in places for name in place.members))


def standings(places: Sequence[Place], records: Sequence[Record], rows: Sequence[Rows], key: str) -> dict[str, Standing]:
    """Say how tokenizers stand in a figure over data sets.

    Those take part that have the figure on each data set on which two tokenizers or more have it. The same images under two names count once. On each
    they are ranked, and a tokenizer's ranks are averaged. The interval is from resampling the groups of images of each data set, the same for all
    tokenizers, so that it is paired by image. A figure of a whole set moves by what it is without each part of the images, the same parts for all.
    Where records do not say that, it is drawn from its interval, for each tokenizer by itself. The best is better than each other one by more than
    chance, in as many of the resamples as Holm's procedure asks for.

    Args:
        places: From ``places_of``.
        records: What they are of.
        rows: The per-image values of each record.
        key: Key of a metric.

    Returns:
        Standings by name; none if fewer than two tokenizers take part, or neither direction of the figure is better.
    """
    compared = [_measured(place, records, key) for place in counted_places(places, records, key)]
    names = [name for name in subjects_of(places) if all(name in found for found in compared)] if compared else []
    directions = {records[found[name]].metrics[key].higher_is_better for found in compared for name in found}
    if len(names) < 2 or len(directions) > 1 or None in directions:
        return {}
    sign = -1 if directions.pop() else 1
    ranks, drawn = np.zeros(len(names)), np.zeros((RESAMPLES, len(names)))
    certain = True
    for found in compared:
        members = [found[name] for name in names]
        values, resampled = _figures([records[i] for i in members], [rows[i] for i in members], key)
        ranks += _ranks(sign * values) / len(compared)
        if resampled is None:
            certain = False
        else:
            drawn += _ranks(sign * resampled) / len(compared)
    best = _best(ranks, drawn) if certain else None
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    method = f"{RESAMPLES} resamples of the images of each of {counted(len(compared), 'data set')}, paired"
    means = [[records[found[name]].metrics[key].reached for found in compared] for name in names]
    return {
        name: Standing(_mean(means[i]), float(ranks[i]), Interval(float(low[i]), float(high[i]), method) if certain else None, i == best)
        for i, name in enumerate(names)
    }


def counted_places(places: Sequence[Place], records: Sequence[Record], key: str) -> list[Place]:
    """Those data sets on which two tokenizers or more have a figure that compares: the ones standings are over. The same images count once."""
    several = [place for place in places if len(_measured(place, records, key)) > 1]
    again = _again(several, records)
    return [place for place in several if place.label not in again]


def same_images_notes(places: Sequence[Place], records: Sequence[Record]) -> list[str]:
    """Say which data sets are one under several names, a line each."""
    return [f"{label} and {first} are the same images, which count once" for label, first in _again(places, records).items()]


def _again(places: Sequence[Place], records: Sequence[Record]) -> dict[str, str]:
    """Label of each data set whose images an earlier one has under another name, measured alike, to that one's label."""
    first: dict[object, str] = {}
    found: dict[str, str] = {}
    for place in places:
        record = records[next(iter(place.members.values()))]
        images = replace(record.protocol, data="").figures_from, record.data.pixels_digest
        if first.setdefault(images, place.label) != place.label:
            found[place.label] = first[images]
    return found


def _measured(place: Place, records: Sequence[Record], key: str) -> dict[str, int]:
    """Who has the figure there, measured as by most."""
    unlike = with_other_settings([records[i] for i in place.members.values()], key)
    return {
        name: i
        for (name, i), other in zip(place.members.items(), unlike, strict=True)
        if not other and (metric := records[i].metrics.get(key)) is not None and metric.measured
    }


def _figures(records: Sequence[Record], rows: Sequence[Rows], key: str) -> tuple[np.ndarray, np.ndarray | None]:
    """A figure of records of one data set, ``[k]``, and of resamples of its images, ``[RESAMPLES, k]``; None where nothing tells these.

    An infinite value of an image counts as a little more than the largest number, as it does where the best of a column is looked for.
    """
    columns = [numbers_of(own.get(key, {})) for own in rows]
    seed = hashlib.sha256(records[0].data.pixels_digest.encode(errors="backslashreplace")).digest()[:8]
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(seed, "big")))
    if not all(columns) or any(of_whole_set(own, key) for own in rows) or len({frozenset(column) for column in columns}) > 1:
        return _of_sets(records, rows, key, generator)
    ids = sorted(columns[0])
    values = np.array([[column[name] for name in ids] for column in columns])
    bound = float(np.abs(values[np.isfinite(values)]).max(initial=0.0)) + 1.0
    values = np.clip(values, -bound, bound) / bound
    groups = image_groups(records[0], ids)
    if groups is None or len(set(groups.values())) < 2:
        return np.round(values.mean(axis=1), DIGITS), None
    number = {group: i for i, group in enumerate(sorted(set(groups.values())))}
    index = np.array([number[groups[name]] for name in ids])
    sums = np.stack([np.bincount(index, weights=column, minlength=len(number)) for column in values], axis=1)
    counts = np.bincount(index, minlength=len(number)).astype(np.float64)
    drawn = [_resampled(sums, counts, generator, size) for size in _sizes(len(number))]
    return np.round(values.mean(axis=1), DIGITS), np.round(np.concatenate(drawn), DIGITS)


def _sizes(groups: int) -> list[int]:
    """How the resamples are cut into pieces."""
    most = max(1, BLOCK // groups)
    return [min(most, RESAMPLES - start) for start in range(0, RESAMPLES, most)]


def _resampled(sums: np.ndarray, counts: np.ndarray, generator: np.random.Generator, size: int) -> np.ndarray:
    """Means over groups drawn with replacement, ``[size, k]``."""
    weights = _weights(len(counts), generator, size)
    return (weights @ sums) / (weights @ counts)[:, None]


def _weights(groups: int, generator: np.random.Generator, size: int) -> np.ndarray:
    """How often each group is drawn in each resample, ``[size, groups]``."""
    picks = generator.integers(groups, size=(size, groups)) + groups * np.arange(size)[:, None]
    return np.bincount(picks.ravel(), minlength=size * groups).reshape(size, groups).astype(np.float64)


def _of_sets(
    records: Sequence[Record], rows: Sequence[Rows], key: str, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """Figures of whole sets, resampled by what they are without each part of the images; each by itself where records do not say that."""
    found = left_out(list(zip(records, rows, strict=True)), key)
    values = np.array([record.metrics[key].reached for record in records], dtype=np.float64)
    if found is None or not np.isfinite(values).all() or not np.isfinite(found.estimates).all():
        return _from_intervals(records, key, generator)
    parts = len(found.estimates)
    drawn = np.concatenate([found.resampled(values, _weights(parts, generator, size)) for size in _sizes(parts)])
    scale = float(np.abs(values).max()) or 1.0
    return np.round(values / scale, DIGITS), np.round(drawn / scale, DIGITS)


def _from_intervals(records: Sequence[Record], key: str, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
    """Figures of whole sets; drawn by the normal distribution whose 95 % are the interval, each end by itself."""
    from scipy.stats import norm

    metrics = [record.metrics[key] for record in records]
    values = np.array([metric.reached for metric in metrics], dtype=np.float64)
    if any(metric.interval is None or not all(map(math.isfinite, (metric.interval.low, metric.interval.high))) for metric in metrics):
        return values, None
    below, above = (
        np.array([abs(end - value) for end, value in zip(ends, values, strict=True)]) / norm.ppf((1 + LEVEL) / 2)
        for ends in ([m.interval.low for m in metrics if m.interval], [m.interval.high for m in metrics if m.interval])
    )
    steps = generator.standard_normal((RESAMPLES, len(metrics)))
    return values, values + np.where(steps > 0, above, below) * steps


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks along the last axis, 1 the smallest; those that tie share the mean."""
    from scipy.stats import rankdata

    return rankdata(values, method="average", axis=-1)


def _best(ranks: np.ndarray, drawn: np.ndarray) -> int | None:
    """Number of the one whose mean rank is the best by more than chance; None if there is none."""
    winner = int(ranks.argmin())
    others = [i for i in range(len(ranks)) if i != winner]
    shares = [(1 + int((drawn[:, winner] >= drawn[:, i]).sum())) / (1 + len(drawn)) for i in others]
    return winner if all_rejected([min(1.0, 2 * share) for share in shares]) else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    if all(map(math.isfinite, known)):
        return math.fsum(known) / len(known)
    return known[0] if len(set(known)) == 1 else None


def _labels(records: Sequence[Record]) -> list[str]:
    """Names of data sets; those of one name are told apart by the side of the images, their number, seed, protocol or digest."""
    labels = [record.data.name for record in records]
    for part in (
        lambda record: f"{record.protocol.size_text} px",
        lambda record: f"N={record.data.count}",
        lambda record: f"seed {record.protocol.seed}",
        lambda record: record.protocol_label,
        lambda record: f"v{record.protocol.version}",
        lambda record: record.data.pixels_digest[:8],
    ):
        texts: dict[str, set[str]] = {}
        for label, record in zip(labels, records, strict=True):
            texts.setdefault(label, set()).add(part(record))
        labels = [f"{label} {part(record)}" if len(texts[label]) > 1 else label for label, record in zip(labels, records, strict=True)]
    return told_apart([visible(label) for label in labels])
