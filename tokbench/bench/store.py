"""Records on disk: written atomically, never over another one, found again by folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from tokbench.bench.record import Record, read_record
from tokbench.errors import TokbenchError
from tokbench.files import Busy, Taken, atomic_unit, is_draft

Rows = Mapping[str, Mapping[str, float]]
"""Column to image id to value."""


def write_record(record: Record, rows: Rows, folder: Path) -> Path:
    """Write a record and, beside it, its per-image rows as parquet.

    Args:
        record: The record.
        rows: Per-image values.
        folder: Made if missing.

    Returns:
        The record's path: tokenizer and protocol, and a number if that is taken.

    Raises:
        TokbenchError: If the folder cannot be written.
    """
    return write_named(record.to_json(), rows, folder, f"{record.tokenizer.name}_{record.protocol_label}")


def write_named(text: str, rows: Rows, folder: Path, name: str, *, beside: Callable[[Path], None] | None = None) -> Path:
    """Write the text of a record, of whatever kind, and its rows under a name; see ``write_record``.

    Args:
        text: JSON.
        rows: Per-image values.
        folder: Made if missing.
        name: Of the file; what file names cannot have is replaced.
        beside: Writes more into a folder it is given, which will lie beside the record, under its name.
    """
    stem = _slug(name)
    for number in range(1, 100_000):
        own = stem if number == 1 else f"{stem}_{number}"
        path = folder / f"{own}.json"
        if path.exists():
            continue
        try:
            with atomic_unit(folder, [f"{own}.parquet", own, path.name]) as draft:
                if rows:
                    _write_rows(rows, draft / f"{own}.parquet")
                if beside is not None:
                    beside(draft / own)
                (draft / path.name).write_text(text, encoding="utf-8")
        except (Taken, Busy):
            continue
        return path
    raise TokbenchError(f"{folder} holds 100000 records of {stem}; choose another --out")


def _write_rows(rows: Rows, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = sorted({image for column in rows.values() for image in column})
    table = {"id": ids} | {name: [column.get(image) for image in ids] for name, column in sorted(rows.items())}
    pq.write_table(pa.table(table), path)


def read_rows(record: Path) -> dict[str, dict[str, float]]:
    """Read the per-image rows beside a record; empty if there are none.

    Raises:
        TokbenchError: If the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = record.with_suffix(".parquet")
    if not path.is_file():
        return {}
    try:
        table = pq.read_table(path).to_pydict()
        ids = table.pop("id")
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        why = "it has no column of ids" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise TokbenchError(f"cannot read the per-image values in {path} ({why}); measure again, or remove the file") from error
    return {name: dict(zip(ids, values, strict=True)) for name, values in table.items()}


def find_records(places: Iterable[Path], *, may_be_none: bool = False) -> list[tuple[Path, Record]]:
    """Read records from files and folders.

    Args:
        places: Record files, or folders that are searched for them, recursively.
        may_be_none: Whether it is no error that there are none.

    Raises:
        TokbenchError: If a place is missing, a named file is no record, or nothing is found.
    """
    found: dict[Path, Record] = {}
    places = list(places)
    for place in places:
        if place.is_dir():
            for path in sorted(place.rglob("*.json")):
                if not is_draft(path.relative_to(place)) and _of_a_run(path.read_text(encoding="utf-8", errors="replace")):
                    found[path] = read_record(path)
        else:
            found[place] = read_record(place)
    if not found and not may_be_none:
        raise TokbenchError(f"no records in {', '.join(map(str, places))}; make some with: tokbench run --tokenizer NAME")
    return list(found.items())


def _of_a_run(text: str) -> bool:
    """Whether JSON looks like a record of a run; other files of this package name a schema too, and other records their ``kind``."""
    if '"schema"' not in text:
        return False
    try:
        values = json.loads(text)
    except json.JSONDecodeError:
        return True  # reading it says what is wrong
    return isinstance(values, dict) and {"schema", "metrics"} <= values.keys() and values.get("kind", "run") == "run"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+=_-]+", "-", text).strip("-.")[:120] or "record"
