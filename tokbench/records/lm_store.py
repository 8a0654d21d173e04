"""Records of language models on disk, placed and found as those of runs are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from tokbench.records.everything import find_everything
from tokbench.records.lm_record import KIND, LanguageModelRecord, lm_record_from_dict
from tokbench.records.probe_record import ProbeRecord
from tokbench.records.record import Record
from tokbench.records.store import Rows, read_places, write_named


def write_lm_record(record: LanguageModelRecord, rows: Rows, folder: Path, *, pictures: Callable[[Path], None] | None = None) -> Path:
    """Write a record and, beside it, its values by prompt as parquet.

    Args:
        record: The record.
        rows: Values by prompt, of which the figures are means.
        folder: Made if missing.
        pictures: Writes pictures into a folder it is given, which will lie beside the record, under its name.

    Returns:
        The record's path: model and protocol, and a number if that is taken.

    Raises:
        TokbenchError: If the folder cannot be written.
    """
    return write_named(record.to_json(), rows, folder, f"{record.model.name}_{record.protocol.label}", beside=pictures)


def find_lm_records(places: Iterable[Path]) -> list[tuple[Path, LanguageModelRecord]]:
    """Read the records of language models from files and folders.

    Args:
        places: Record files, or folders that are searched for them, recursively; records of other kinds in folders are passed over.

    Raises:
        TokbenchError: If a named file is no such record, or one in a folder cannot be read.
    """
    return [
        (found.path, lm_record_from_dict(found.values, origin=str(found.path)))
        for found in read_places(places)
        if found.named or found.kind == KIND
    ]


def find_every_record(
    places: Iterable[Path],
) -> tuple[list[tuple[Path, Record]], list[tuple[Path, ProbeRecord]], list[tuple[Path, LanguageModelRecord]]]:
    """Read the records of runs, of probes and of language models from files and folders.

    Args:
        places: Record files of any kind, or folders that are searched for them, recursively.

    Returns:
        Those of each kind, with their files.

    Raises:
        TokbenchError: If a place is missing, a file is no record, or there is none of any kind.
    """
    found = find_everything(places)
    return found.runs, found.probes, found.models
