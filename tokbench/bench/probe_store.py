"""Records of probes on disk, placed and found as those of runs are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from tokbench.bench.probe_record import KIND, ProbeRecord, probe_record_from_dict, read_probe_record
from tokbench.bench.record import Record
from tokbench.bench.store import Rows, find_records, write_named
from tokbench.errors import TokbenchError
from tokbench.files import is_draft


def write_probe_record(record: ProbeRecord, rows: Rows, folder: Path, *, model: Callable[[Path], None] | None = None) -> Path:
    """Write a record and, beside it, its per-image rows as parquet.

    Args:
        record: The record.
        rows: Per-image values.
        folder: Made if missing.
        model: Writes the probe itself into a folder it is given, which will lie beside the record, under its name.

    Returns:
        The record's path: tokenizer, budget and protocol, and a number if that is taken.

    Raises:
        TokbenchError: If the folder cannot be written.
    """
    return write_named(record.to_json(), rows, folder, f"{record.tokenizer.name}_{record.protocol_label}", beside=model)


def find_probe_records(places: Iterable[Path]) -> list[tuple[Path, ProbeRecord]]:
    """Read the records of probes from files and folders.

    Args:
        places: Record files, or folders that are searched for them, recursively; records of other kinds in folders are passed over.

    Raises:
        TokbenchError: If a named file is no record of a probe, or one in a folder cannot be read.
    """
    found: dict[Path, ProbeRecord] = {}
    for place in places:
        if not place.is_dir():
            found[place] = read_probe_record(place)
            continue
        for path in sorted(place.rglob("*.json")):
            if is_draft(path.relative_to(place)):
                continue
            text = path.read_text(encoding="utf-8", errors="replace")
            if _is_of_a_probe(text):
                found[path] = probe_record_from_dict(_parsed(text, path), origin=str(path))
    return list(found.items())


def find_all_records(places: Iterable[Path]) -> tuple[list[tuple[Path, Record]], list[tuple[Path, ProbeRecord]]]:
    """Read the records of runs and of probes from files and folders.

    Args:
        places: Record files of either kind, or folders that are searched for them, recursively.

    Returns:
        Those of runs and those of probes, with their files.

    Raises:
        TokbenchError: If a place is missing, a file is no record, or there is none of either kind.
    """
    places = list(places)
    named = {place for place in places if place.is_file() and _is_of_a_probe(place.read_text(encoding="utf-8", errors="replace"))}
    probes = find_probe_records(place for place in places if place.is_dir() or place in named)
    return find_records((place for place in places if place not in named), may_be_none=bool(probes)), probes


def _is_of_a_probe(text: str) -> bool:
    return f'"kind": "{KIND}"' in text


def _parsed(text: str, path: Path) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise TokbenchError(f"{path} is not a readable record ({error})") from error
