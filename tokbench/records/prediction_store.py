"""Records of predictions on disk, placed and found as those of runs are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from tokbench.records.naming import subject_label
from tokbench.records.prediction_record import KIND, PredictionRecord, prediction_record_from_dict
from tokbench.records.store import Rows, read_places, write_named


def write_prediction_record(record: PredictionRecord, rows: Rows, folder: Path, *, files: Callable[[Path], None] | None = None) -> Path:
    """Write a record and, beside it, its per-image rows as parquet.

    Args:
        record: The record.
        rows: Per-image values.
        folder: Made if missing.
        files: Writes more into a folder it is given, which will lie beside the record, under its name.

    Returns:
        The record's path: tokenizer, settings and protocol, and a number if that is taken.

    Raises:
        TokbenchError: If the folder cannot be written.
    """
    return write_named(record.to_json(), rows, folder, f"{subject_label(record.tokenizer)}_{record.protocol_label}", beside=files)


def find_prediction_records(places: Iterable[Path]) -> list[tuple[Path, PredictionRecord]]:
    """Read the records of predictions from files and folders.

    Args:
        places: Record files, or folders that are searched for them, recursively; records of other kinds in folders are passed over.

    Raises:
        TokbenchError: If a named file is no record of a prediction, or one in a folder cannot be read.
    """
    return [
        (found.path, prediction_record_from_dict(found.values, origin=str(found.path)))
        for found in read_places(places)
        if found.named or found.kind == KIND
    ]
