"""Records on disk: written atomically, never over another one, found again by folder."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokbench.errors import TokbenchError
from tokbench.escapes import visible
from tokbench.file_units import Taken, atomic_unit, is_draft
from tokbench.files import Busy
from tokbench.json_files import parse_json, read_regular
from tokbench.records.naming import distinction, file_stem, record_name
from tokbench.records.record import RUN, Record, read_record, read_values, record_from_dict

logger = logging.getLogger(__name__)

Rows = Mapping[str, Mapping[str, float]]
"""Column to image id to value."""

ROW_GROUP = 65_536
"""Rows that are put into a file at once, however many there are."""

MOST_ROWS = 20_000_000
"""Images that the rows beside a record may be of, where the record does not say."""


def write_record(record: Record, rows: Rows, folder: str | Path) -> Path:
    """Write a record and, beside it, its per-image rows as parquet.

    Args:
        record: The record.
        rows: Per-image values.
        folder: Made if missing.

    Returns:
        The record's path. Its name has tokenizer, what is set in it, and protocol. Then comes what tells it from a record that has that
        name, or a number if it repeats one.

    Raises:
        TokbenchError: If the folder cannot be written.
    """
    folder, name = Path(folder), record_name(record)
    with suppress(TokbenchError):  # no record there, or none that can be read
        name += distinction(record, read_record(folder / f"{file_stem(name)}.json"))
    return write_named(record.to_json(), rows, folder, name)


def write_named(text: str, rows: Rows, folder: Path, name: str, *, beside: Callable[[Path], None] | None = None) -> Path:
    """Write the text of a record, of whatever kind, and its rows under a name; see ``write_record``.

    Args:
        text: JSON.
        rows: Per-image values.
        folder: Made if missing.
        name: Name of the file; what file names cannot have is replaced.
        beside: Writes more into a folder it is given, which will lie beside the record, under its name.
    """
    stem = file_stem(name)
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
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tokbench.records.image_values import on_common_ids

    ids, columns = on_common_ids(rows)
    places = np.arange(len(ids)) if ids.order is None else ids.order
    places = places[np.any([column.there for column in columns.values()], axis=0)[places]]
    schema = pa.schema([("id", pa.string()), *((name, pa.float64()) for name in sorted(columns))])
    with pq.ParquetWriter(path.absolute(), schema) as writer:  # Arrow takes the name runs:1 for an address, and ~ for a home
        for start in range(0, max(1, len(places)), ROW_GROUP):
            some = places[start : start + ROW_GROUP]
            table = {"id": pa.array([ids[place] for place in some.data], pa.string())}
            for name, column in sorted(columns.items()):
                numbers, there = column.taken(some)
                table[name] = pa.array(numbers, pa.float64(), mask=~there)
            writer.write_table(pa.table(table))


def read_rows(record: str | Path, *, images: int | None = None) -> dict[str, dict[str, float]]:
    """Read the per-image rows beside a record; empty if there are none.

    Args:
        record: Its file.
        images: How many it says were measured; None takes any number of rows.

    Returns:
        Column to image id to value; an image that a metric says nothing of has none.

    Raises:
        TokbenchError: If the file is damaged, or is not one of an id and numbers for each image.
    """
    import pyarrow as pa

    path = Path(record)
    path = path.with_suffix(".parquet") if path.name else path
    if not os.path.isfile(path):
        return {}
    try:
        return _rows_in(path, MOST_ROWS if images is None else images)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        why = visible(" ".join(str(error).split()))
        raise TokbenchError(f"cannot read the per-image values in {path} ({why}); measure again, or remove the file") from error


def _rows_in(path: Path, most: int) -> dict[str, dict[str, float]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        if file.metadata.num_rows > most:
            raise ValueError(f"it has {file.metadata.num_rows:,} rows, of at most {most:,} images")
        schema = file.schema_arrow
        if len(set(schema.names)) < len(schema.names) or "id" not in schema.names:
            raise ValueError("two columns have one name" if "id" in schema.names else "it has no column of ids")
        for field in schema:
            own = pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
            if not own if field.name == "id" else not (pa.types.is_floating(field.type) or pa.types.is_integer(field.type)):
                raise ValueError(
                    f"its column {field.name[:40]} holds {str(field.type)[:40]}, not {'text' if field.name == 'id' else 'numbers'}"
                )
        table = file.read(use_threads=False)
    ids = table.column("id").to_pylist()
    if None in ids or len(set(ids)) < len(ids):
        raise ValueError("an id is missing, or there twice")
    columns = {name: table.column(name).to_pylist() for name in table.column_names if name != "id"}
    return {
        name: {image: float(value) for image, value in zip(ids, values, strict=True) if value is not None}
        for name, values in columns.items()
    }


@dataclass(frozen=True)
class Found:
    """A file that is a record, or was named as one.

    Args:
        path: Path of its file.
        values: What it holds, as plain JSON values.
        named: Whether it was asked for itself, not for its folder.
    """

    path: Path
    values: Any
    named: bool

    @property
    def kind(self) -> str | None:
        """``run``, or what other records call themselves; None if this is none: other files of this package name a schema, too."""
        if not isinstance(self.values, dict) or "schema" not in self.values:
            return None
        kind = self.values.get("kind", RUN)
        return kind if isinstance(kind, str) and (kind != RUN or "metrics" in self.values) else None


def read_places(places: Iterable[Path], *, below: bool = True) -> Iterator[Found]:
    """Read what may be records out of files and folders, each file once.

    Args:
        places: Files, or folders that are searched, recursively. Files in folders that cannot be records are passed over, those that are
            no files, or too large, with a warning.
        below: Whether folders within folders are searched too.

    Yields:
        What was found, in the order of the places, in folders by name.

    Raises:
        TokbenchError: If a place is missing, a named file is not JSON, or one in a folder is a damaged record or cannot be read.
    """
    seen: set[Path] = set()
    for place in places:
        named = not os.path.isdir(place)
        inside = (
            []
            if named
            else [
                path for path in sorted(place.rglob("*.json") if below else place.glob("*.json")) if not is_draft(path.relative_to(place))
            ]
        )
        for path in [place] if named else inside:
            if path in seen or (not named and os.path.isdir(path)):
                continue
            seen.add(path)
            values = read_values(path) if named else _record_in(path)
            if named or values is not None:
                yield Found(path, values, named)


def find_records(places: Iterable[Path], *, may_be_none: bool = False, below: bool = True) -> list[tuple[Path, Record]]:
    """Read records of runs from files and folders.

    Args:
        places: Record files, or folders that are searched for them, recursively.
        may_be_none: Whether it is no error that there are none.
        below: Whether folders within folders are searched too.

    Raises:
        TokbenchError: If a place is missing, a named file is no record, or nothing is found.
    """
    places = list(places)
    records, others = [], dict[str, None]()
    for found in read_places(places, below=below):
        if found.named or found.kind == RUN:
            records.append((found.path, record_from_dict(found.values, origin=str(found.path))))
        elif found.kind is not None:
            others[visible(found.kind[:40])] = None
    if not records and not may_be_none:
        raise no_records(places, others)
    return records


def no_records(places: Iterable[Path], others: Iterable[str] = ()) -> TokbenchError:
    """Build the error for places without any record of a run, to be raised by the caller.

    Args:
        places: Where they were looked for.
        others: Kinds of the records that are there instead.
    """
    where, held = ", ".join(map(str, places)), " and a ".join(others)
    if held:
        return TokbenchError(f"no records in {where} are of runs, they are of a {held}; tokbench compare and tokbench report show those")
    return TokbenchError(f"no records in {where}; make some with: tokbench run --tokenizer NAME")


def _record_in(path: Path) -> Any:
    """What a file in a folder holds; None if it is no record, also not a damaged one."""
    try:
        data = read_regular(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            logger.warning("passed over %s: it is a link that leads nowhere", visible(str(path)))
            return None
        raise TokbenchError(f"{path} cannot be read ({error.strerror}); let this user read it, or move it out of the folder") from error
    except ValueError as error:
        logger.warning("passed over %s: %s", visible(str(path)), error)
        return None
    if b'"schema"' not in data and b'"protocol_label"' not in data:
        return None
    try:
        return parse_json(data)
    except ValueError as error:
        if not any(name in data for name in (b'"protocol_label"', b'"metrics"', b'"figures"')):
            return None
        raise TokbenchError(f"{path} is not a readable record ({error}); measure again, or remove the file") from error
