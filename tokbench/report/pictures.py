"""Which images of a run are worth looking at, chosen from per-image rows; no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tokbench.bench.pictures_data import Picture, Pictures
from tokbench.bench.record import Record
from tokbench.bench.store import Rows
from tokbench.report.table import METRIC_COLUMNS, Column

__all__ = ["ChosenImage", "Picture", "Pictures", "choose_images"]

LOOKED_AT = ("lpips", "psnr", "ssim")
"""Metrics that choose before all others."""

_COLUMNS = {column.key: column for column in METRIC_COLUMNS}


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

    For every metric with per-image values: the image with the worst mean over the tokenizers, the one on which two of them
    differ most, the median and the best one; those of LPIPS, PSNR and SSIM come first. Values that are infinite on some
    image leave their tokenizer out of the metric. Codecs, and what is without error on every image, count among those that
    differ only where fewer than two others remain.

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
    for first in (True, False):
        for kind in (_worst, _apart, _median, _best):
            for metric in judged:
                if (metric.column.key in LOOKED_AT) is first:
                    for name, why in kind(metric):
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
        finite = [(r, c) for r, c in same if key in c and all(v is not None and math.isfinite(v) for v in c[key].values())]
        if len(directions) != 1 or not finite:
            continue
        ids = set.intersection(*(set(c[key]) for _, c in finite))
        values = {name: tuple(c[key][name] for _, c in finite) for name in ids}
        if values:
            column = _COLUMNS.get(key, Column(key, key, 4))
            higher = directions == {True}
            names = tuple(r.tokenizer.name for r, _ in finite)
            found.append(_Judged(column, higher, names, values, _told_apart(names, [_lossless(c, key, higher) for _, c in finite])))
    return found


def _told_apart(names: Sequence[str], lossless: Sequence[bool]) -> tuple[int, ...]:
    """Places of those whose difference says something; codecs and the lossless stay where fewer than two others remain."""
    kept = tuple(range(len(names)))
    for rest in (tuple(i for i in kept if not names[i].startswith("anchor/")), tuple(i for i in kept if not lossless[i])):
        both = tuple(i for i in kept if i in rest)
        kept = both if len(both) > 1 else kept
    return kept


def _lossless(rows: Rows, key: str, higher_is_better: bool) -> bool:
    """Whether every image comes back as it was: by its PSNR, or by a metric that is 0 or 1 without error."""
    psnr = rows.get("psnr", {})
    if psnr and all(value == math.inf for value in psnr.values()):
        return True
    return all(value == (1.0 if higher_is_better else 0.0) for value in rows[key].values())


def _worst(metric: _Judged) -> Iterator[tuple[str, str]]:
    yield _ranked(metric, "worst", 0)


def _median(metric: _Judged) -> Iterator[tuple[str, str]]:
    yield _ranked(metric, "median", (len(metric.values) - 1) // 2)


def _best(metric: _Judged) -> Iterator[tuple[str, str]]:
    yield _ranked(metric, "best", -1)


def _ranked(metric: _Judged, word: str, place: int) -> tuple[str, str]:
    name = metric.from_worst[place]
    over = "" if len(metric.names) == 1 else f", mean of {len(metric.names)} tokenizers"
    return name, f"{word} {metric.column.title} ({metric.text(metric.mean(name))}{over})"


def _apart(metric: _Judged) -> Iterator[tuple[str, str]]:
    among = {name: tuple(values[i] for i in metric.told_apart) for name, values in metric.values.items()}
    name = min(among, key=lambda name: (min(among[name]) - max(among[name]), name))
    low, high = min(among[name]), max(among[name])
    if low < high:
        of = {value: metric.names[i] for i, value in reversed(list(zip(metric.told_apart, among[name], strict=True)))}
        yield name, f"largest difference in {metric.column.title} ({of[low]} {metric.text(low)}, {of[high]} {metric.text(high)})"
