"""Records of speed tests on disk, placed and found as those of runs are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokbench.records.naming import subject_label
from tokbench.records.speed_record import KIND, SpeedRecord, speed_record_from_dict
from tokbench.records.store import read_places, write_named


def write_speed_record(record: SpeedRecord, folder: Path) -> Path:
    """Write a record.

    Args:
        record: The record.
        folder: Made if missing.

    Returns:
        The record's path: tokenizer, device, sizes, batches and precision, and a number if that is taken.

    Raises:
        TokbenchError: If the folder cannot be written.
    """
    name = f"{subject_label(record.tokenizer)}_speed_{record.machine.device}_{record.protocol.label}"
    return write_named(record.to_json(), {}, folder, name)


def find_speed_records(places: Iterable[Path]) -> list[tuple[Path, SpeedRecord]]:
    """Read the records of speed tests from files and folders.

    Args:
        places: Record files, or folders that are searched for them, recursively; records of other kinds in folders are passed over.

    Raises:
        TokbenchError: If a named file is no such record, or one in a folder cannot be read.
    """
    return [
        (found.path, speed_record_from_dict(found.values, origin=str(found.path)))
        for found in read_places(places)
        if found.named or found.kind == KIND
    ]
