"""What an image costs, as a figure that differences judge: measured of every image for codecs, the same for all for tokenizers; no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tokbench.records.figures import RATES
from tokbench.records.intervals import Interval
from tokbench.records.record import MetricResult, Record
from tokbench.records.store import Rows

UNITS = {info.key: info.unit for info in RATES}

BITS = "bits_per_image"
"""Column of rows that holds the size of each file of a codec."""

OF_LAYOUT = "the same for every image"
"""Why no test judges what tokens cost: their layout says it."""


def rate_result(record: Record, key: str) -> MetricResult | None:
    """A rate in the form of a metric's figure.

    Args:
        record: What was measured.
        key: Key of the rate.

    Returns:
        The rate with its interval, which has no width where every image costs the same; None if it is no rate, or the record has none.
    """
    value = record.figures().get(key) if key in UNITS else None
    if value is None:
        return None
    fixed = Interval(value, value, OF_LAYOUT) if record.tokenizer.codec is None else None
    return MetricResult(value, UNITS[key], None, interval=record.interval(key) or fixed)


def rate_columns(sides: Sequence[tuple[Record, Rows]], key: str) -> list[Mapping[str, float]]:
    """A rate of every image, for each record.

    Args:
        sides: Records with their rows.
        key: Key of the rate.

    Returns:
        Image id to rate; what a tokenizer's image costs is said of those images that a codec was measured on. Empty where a record does not
        say it, and for all of them where none is of a codec.
    """
    measured = [_of_files(record, rows, key) for record, rows in sides]
    images = dict.fromkeys(name for column in measured for name in column)
    values = [record.figures().get(key) for record, _ in sides]
    return [
        column if record.tokenizer.codec is not None or value is None else dict.fromkeys(images, value)
        for (record, _), column, value in zip(sides, measured, values, strict=True)
    ]


def _of_files(record: Record, rows: Rows, key: str) -> dict[str, float]:
    """What the file of each image takes; empty for a tokenizer."""
    by_unit = {BITS: 1, "bpp": record.protocol.pixels_per_image}
    if record.tokenizer.codec is None or key not in by_unit or key in record.metrics:
        return {}
    return {name: bits / by_unit[key] for name, bits in rows.get(BITS, {}).items()}
