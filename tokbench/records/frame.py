"""Records as a table of pandas: one row a record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokbench.image_size import Size, size_text
from tokbench.records.distinct import distinct
from tokbench.records.naming import subject_label
from tokbench.records.record import Record
from tokbench.records.store import find_records

if TYPE_CHECKING:
    import pandas as pd


def frame(records: Record | str | Path | Iterable[Record | str | Path]) -> pd.DataFrame:
    """Put records into a data frame, one row each.

    Columns are ``tokenizer`` (with what is set in it), ``data``, ``size`` (side in pixels, or ``HxW``), ``n`` (images measured), ``seed`` and ``protocol``.
    Then come all figures by their keys, in the units of the record. Each is followed by the ends of its 95 % interval, ``KEY_low`` and
    ``KEY_high``, where a record has one. What a record does not have is NaN. A figure of others that is called like another column has a
    number behind its key. Where a tokenizer was trained on images it was measured on, the last column, ``trained_on``, says of which rows.

    Args:
        records: Records, files of records, or folders with records of runs; one of these or several.

    Raises:
        TokbenchError: If a place holds no record, or a damaged one.
    """
    import pandas as pd

    given = [records] if isinstance(records, Record | str | Path) else records
    found = [record for item in given for record in ([item] if isinstance(item, Record) else _read(Path(item)))]
    keys = list(dict.fromkeys(key for record in found for key in record.figures()))
    ends = {key: _ENDS * any(record.interval(key) for record in found) for key in keys}
    names = dict(zip(keys, distinct(list(ends.items()), (*WHAT, TRAINED)), strict=True))
    columns = [f"{names[key]}{end}" for key in keys for end in ("", *ends[key])]
    columns += [TRAINED] * any(record.trained_on for record in found)
    return pd.DataFrame([_row(record, names) for record in found], columns=[*WHAT, *columns])


WHAT = ("tokenizer", "data", "size", "n", "seed", "protocol")
"""Columns that say what was measured, on what and how."""

TRAINED = "trained_on"
"""Column that says whether a tokenizer was trained on images it was measured on; there where one was."""

_ENDS = ("_low", "_high")


def _read(place: Path) -> list[Record]:
    return [record for _, record in find_records([place])]


def _size(size: Size) -> int | str:
    return size if isinstance(size, int) else size_text(size)


def _row(record: Record, names: Mapping[str, str]) -> dict[str, Any]:
    protocol = record.protocol
    about = (
        subject_label(record.tokenizer),
        record.data.name,
        _size(protocol.size),
        record.data.count,
        protocol.seed,
        record.protocol_label,
    )
    row: dict[str, Any] = dict(zip(WHAT, about, strict=True)) | {TRAINED: record.trained_on}
    for key, value in record.figures().items():
        row[names[key]] = value
        if (interval := record.interval(key)) is not None:
            row |= {f"{names[key]}{end}": value for end, value in zip(_ENDS, (interval.low, interval.high), strict=True)}
    return row
