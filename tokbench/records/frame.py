"""Records as a table of pandas: one row a record."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokbench.image_size import Size, size_text
from tokbench.records.naming import subject_label
from tokbench.records.record import Record
from tokbench.records.store import find_records

if TYPE_CHECKING:
    import pandas as pd


def frame(records: Record | str | Path | Iterable[Record | str | Path]) -> pd.DataFrame:
    """Put records into a data frame, one row each.

    Columns are ``tokenizer`` (with what is set in it), ``data``, ``size`` (side in pixels, or ``HxW``), ``n`` (images measured), ``seed`` and ``protocol``.
    Then come all figures by their keys, in the units of the record. Each is followed by the ends of its 95 % interval, ``KEY_low`` and
    ``KEY_high``, where a record has one. What a record does not have is NaN.

    Args:
        records: Records, files of records, or folders with records of runs; one of these or several.

    Raises:
        TokbenchError: If a place holds no record, or a damaged one.
    """
    import pandas as pd

    given = [records] if isinstance(records, Record | str | Path) else records
    found = [record for item in given for record in ([item] if isinstance(item, Record) else _read(Path(item)))]
    keys = list(dict.fromkeys(key for record in found for key in record.figures()))
    columns = [name for key in keys for name in (key, *_ends(key) * any(record.interval(key) for record in found))]
    return pd.DataFrame([_row(record) for record in found], columns=[*_WHAT, *columns])


_WHAT = ("tokenizer", "data", "size", "n", "seed", "protocol")


def _read(place: Path) -> list[Record]:
    return [record for _, record in find_records([place])]


def _ends(key: str) -> tuple[str, str]:
    return f"{key}_low", f"{key}_high"


def _size(size: Size) -> int | str:
    return size if isinstance(size, int) else size_text(size)


def _row(record: Record) -> dict[str, Any]:
    protocol = record.protocol
    about = (
        subject_label(record.tokenizer),
        record.data.name,
        _size(protocol.size),
        record.data.count,
        protocol.seed,
        record.protocol_label,
    )
    row: dict[str, Any] = dict(zip(_WHAT, about, strict=True)) | record.figures()
    for key in record.figures():
        if (interval := record.interval(key)) is not None:
            row |= dict(zip(_ends(key), (interval.low, interval.high), strict=True))
    return row
