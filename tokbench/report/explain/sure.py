"""How sure a step of a difference is: an interval over groups, of what the same images, or the same groups left out, say; no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tokbench.records.intervals import Interval, group_bootstrap
from tokbench.records.record import Record
from tokbench.records.store import Rows
from tokbench.report.explain.split import Corner, Share
from tokbench.report.paired_sets import of_whole_set, set_difference
from tokbench.report.rates import rate_columns, rate_result
from tokbench.report.significance import image_groups, interval_of_difference


@dataclass(frozen=True)
class Sides:
    """A record, and its per-image values."""

    record: Record
    rows: Rows


def interval_of_share(share: Share, sides: Mapping[Corner, Sides], key: str) -> Interval | None:
    """Find the interval of a step.

    Where all its records have values of the same images, it is that of the mean of their weighted sums. Two records without these are
    put together from their own intervals, as if independent.

    Args:
        share: The step.
        sides: Records by where they stand.
        key: Key of the figure.

    Returns:
        The interval; None if nothing tells it.
    """
    taken = [(weight, sides[corner]) for corner, weight in share.weights.items() if weight]
    rates = rate_columns([(side.record, side.rows) for _, side in taken], key)
    columns = [(weight, rate or side.rows.get(key, {})) for (weight, side), rate in zip(taken, rates, strict=True)]
    together = {} if any(of_whole_set(side.rows, key) for _, side in taken) else _sums(columns)
    if together:
        groups = image_groups(taken[0][1].record, together)
        return group_bootstrap(list(together.values()), [name if groups is None else groups[name] for name in together])
    paired = set_difference([(weight, side.record, side.rows) for weight, side in taken], key) if _of_sets(taken, key) else None
    if paired is not None:
        return paired.interval
    if len(taken) != 2:
        return None
    (_, after), (_, before) = sorted(taken, key=lambda item: -item[0])
    if key in after.record.metrics:
        return interval_of_difference(after.record.metrics[key], before.record.metrics[key])
    first, second = rate_result(before.record, key), rate_result(after.record, key)
    of_codecs = any(side.record.tokenizer.codec is not None for _, side in taken)
    return interval_of_difference(second, first) if first is not None and second is not None and of_codecs else None


def _of_sets(taken: Sequence[tuple[float, Sides]], key: str) -> bool:
    return bool(taken) and all(key in side.record.metrics for _, side in taken)


def _sums(columns: list[tuple[float, Mapping[str, float]]]) -> dict[str, float]:
    """Weighted sums image by image; empty where a record has no value of an image that another has."""
    names = sorted(columns[0][1])
    if not names or any(column.keys() != columns[0][1].keys() for _, column in columns):
        return {}
    sums = {name: math.fsum(weight * column[name] for weight, column in columns) for name in names}
    return sums if all(map(math.isfinite, sums.values())) else {}
