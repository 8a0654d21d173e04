"""Which images of a run are worth looking at, chosen from per-image rows; no torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from tokbench.records.figures import FIGURES
from tokbench.records.pictures import Picture, Pictures
from tokbench.records.record import Record
from tokbench.records.store import Rows
from tokbench.report.table import Column, figure_column

__all__ = ["ChosenImage", "Picture", "Pictures", "choose_images"]

LOOKED_AT = tuple(info.key for info in FIGURES if info.kind == "quality" and info.per_image and info.by_default)
"""Figures that choose before all others: those of every run."""


@dataclass(frozen=True)
class ChosenImage:
    """An image to look at, and why."""

    image_id: str
    why: str


@dataclass(frozen=True)
class _Judged:
    """One metric over images that several records have in common."""

    column: Column
    higher_is_better: bool
    names: tuple[str, ...]
    values: dict[str, tuple[float, ...]]
    members: tuple[int, ...]
    """Places of their records among all that are looked at."""
    told_apart: tuple[int, ...]
    """Which of them may differ most."""

    @property
    def from_worst(self) -> list[str]:
        """Image ids, the worst mean first."""
        sign = 1 if self.higher_is_better else -1
        return sorted(self.values, key=lambda name: (sign * self.mean(name), name))

    def mean(self, name: str) -> float:
        return math.fsum(self.values[name]) / len(self.values[name])

    def text(self, value: float) -> str:
        return f"{value * self.column.scale:.{self.column.digits}f}"


def choose_images(records: Sequence[Record], rows: Sequence[Rows], limit: int) -> list[ChosenImage]:
    """Choose images that show where tokenizers are bad, ordinary, good, and apart.

    Every metric with per-image values has four: the image with the worst mean over the tokenizers, the one on which two differ most, the
    median, the best. Those of LPIPS, PSNR and SSIM come first. Values that are infinite on some image leave their tokenizer out of the
    metric.

    The two that differ most are another pair for every metric, so that no tokenizer far from all others takes all places. A pair stands
    for the image on which it differs most. The pairs are ranked by that difference over the metric's spread over images (the root mean
    square of the two standard deviations). No pair has a second place before all have had one, and no family of tokenizers (the name up
    to the slash) before all families have had one. Of an odd number of families the last shares its pair with one that had a place.
    Codecs, and what is without error on every image, count only where fewer than two others remain.

    Args:
        records: Those measured on other images than the first record with rows are left out.
        rows: The per-image values of each, as ``read_rows`` returns them.
        limit: Images at most.

    Returns:
        The choice, each image once with all reasons for it; the same for the same input.

    Raises:
        ValueError: If records and rows are not equally many, or the limit is negative.
    """
    if len(records) != len(rows):
        raise ValueError(f"{len(records)} records with {len(rows)} sets of rows")
    if limit < 0:
        raise ValueError(f"limit must not be negative, got {limit}")
    reasons: dict[str, list[str]] = {}
    judged = _judged(records, rows)
    pairs = _different_pairs(judged)
    for first in (True, False):
        for kind in (_worst, _apart, _median, _best):
            for metric, pair in zip(judged, pairs, strict=True):
                if (metric.column.key in LOOKED_AT) is first:
                    for name, why in kind(metric, pair):
                        reasons.setdefault(name, []).append(why)
    return [ChosenImage(name, "; ".join(why)) for name, why in reasons.items()][:limit]


def _judged(records: Sequence[Record], rows: Sequence[Rows]) -> list[_Judged]:
    with_rows = [(record, columns) for record, columns in zip(records, rows, strict=True) if columns]
    same = [(r, c) for r, c in with_rows if r.data.pixels_digest == with_rows[0][0].data.pixels_digest]
    keys = dict.fromkeys(key for _, columns in same for key in sorted(columns))
    ordered = [key for key in LOOKED_AT if key in keys] + sorted(key for key in keys if key not in LOOKED_AT)
    found = []
    for key in ordered:
        directions = {metric.higher_is_better for record, _ in same if (metric := record.metrics.get(key))} - {None}
        members = tuple(i for i, (_, c) in enumerate(same) if key in c and all(v is not None and math.isfinite(v) for v in c[key].values()))
        if len(directions) != 1 or not members:
            continue
        finite = [same[i] for i in members]
        ids = set.intersection(*(set(c[key]) for _, c in finite))
        values = {name: tuple(c[key][name] for _, c in finite) for name in ids}
        if values:
            column = figure_column(key, (record.metrics.get(key) for record, _ in same))
            higher = directions == {True}
            names = tuple(r.tokenizer.name for r, _ in finite)
            told_apart = _told_apart([r.tokenizer.codec is not None for r, _ in finite], [_lossless(c, key, higher) for _, c in finite])
            found.append(_Judged(column, higher, names, values, members, told_apart))
    return found


def _told_apart(codec: Sequence[bool], lossless: Sequence[bool]) -> tuple[int, ...]:
    """Places of those whose difference says something; codecs and the lossless stay where fewer than two others remain."""
    kept = tuple(range(len(codec)))
    for dull in (codec, lossless):
        both = tuple(i for i in kept if not dull[i])
        kept = both if len(both) > 1 else kept
    return kept


def _lossless(rows: Rows, key: str, higher_is_better: bool) -> bool:
    """Whether every image comes back as it was: by its PSNR, or by a metric that is 0 or 1 without error."""
    psnr = rows.get("psnr", {})
    if psnr and all(value == math.inf for value in psnr.values()):
        return True
    return all(value == (1.0 if higher_is_better else 0.0) for value in rows[key].values())


@dataclass(frozen=True)
class _Pair:
    """Two tokenizers under one metric, and the image on which they differ most.

    Args:
        members: Places of their records.
        families: Theirs: two, or the one both are of.
        image_id: The image.
        low: Name of the one with the lower value there, and that value.
        high: Name of the one with the higher value there, and that value.
        relative: The difference over the metric's spread over images.
    """

    members: tuple[int, int]
    families: frozenset[str]
    image_id: str
    low: tuple[str, float]
    high: tuple[str, float]
    relative: float


def _different_pairs(judged: Sequence[_Judged]) -> list[_Pair | None]:
    """For every metric the pair that differs most on some image, of those whose turn it is; None where no two differ."""
    had: set[tuple[int, int]] = set()
    had_families: set[str] = set()
    chosen: list[_Pair | None] = []
    for metric in judged:
        pairs = sorted(_pairs(metric), key=lambda pair: (-pair.relative, pair.low[1] - pair.high[1], pair.members))
        if not pairs:
            chosen.append(None)
            continue
        if had.issuperset(pair.members for pair in pairs):
            had = set()
        if had_families.issuperset(family for pair in pairs for family in pair.families):
            had_families = set()
        turn = [pair for pair in pairs if pair.members not in had]
        pair = min(turn, key=lambda pair: len(pair.families & had_families))
        chosen.append(pair)
        had.add(pair.members)
        had_families |= pair.families
    return chosen


def _pairs(metric: _Judged) -> Iterator[_Pair]:
    """Every two that may differ, where they do."""
    spread = {i: statistics.pvariance([values[i] for values in metric.values.values()]) for i in metric.told_apart}
    for i, j in combinations(metric.told_apart, 2):
        image_id = min(metric.values, key=lambda name: (-abs(metric.values[name][i] - metric.values[name][j]), name))
        values = metric.values[image_id]
        low, high = (i, j) if values[i] <= values[j] else (j, i)
        if values[low] < values[high]:
            usual = math.sqrt((spread[i] + spread[j]) / 2)
            yield _Pair(
                members=(metric.members[i], metric.members[j]),
                families=frozenset(metric.names[k].partition("/")[0] for k in (i, j)),
                image_id=image_id,
                low=(metric.names[low], values[low]),
                high=(metric.names[high], values[high]),
                relative=(values[high] - values[low]) / usual if usual else math.inf,
            )


def _worst(metric: _Judged, pair: _Pair | None) -> Iterator[tuple[str, str]]:
    yield _ranked(metric, "worst", 0)


def _median(metric: _Judged, pair: _Pair | None) -> Iterator[tuple[str, str]]:
    yield _ranked(metric, "median", (len(metric.values) - 1) // 2)


def _best(metric: _Judged, pair: _Pair | None) -> Iterator[tuple[str, str]]:
    yield _ranked(metric, "best", -1)


def _apart(metric: _Judged, pair: _Pair | None) -> Iterator[tuple[str, str]]:
    if pair is not None:
        of = "of this pair: " if len(metric.told_apart) > 2 else ""
        both = ", ".join(f"{name} {metric.text(value)}" for name, value in (pair.low, pair.high))
        yield pair.image_id, f"largest difference in {metric.column.title} ({of}{both})"


def _ranked(metric: _Judged, word: str, place: int) -> tuple[str, str]:
    name = metric.from_worst[place]
    over = "" if len(metric.names) == 1 else f", mean of {len(metric.names)} tokenizers"
    return name, f"{word} {metric.column.title} ({metric.text(metric.mean(name))}{over})"
