"""The record that a run has already, where nothing of it was measured anew; no torch."""

from __future__ import annotations

import glob
from contextlib import suppress
from pathlib import Path
from typing import Any

from tokbench.errors import TokbenchError
from tokbench.records.naming import distinction, file_stem, record_name
from tokbench.records.record import Record, read_record


def standing_record(record: Record, folder: str | Path, *, rows: bool) -> Path | None:
    """Look for a record that says the same: all figures, images and rates of micro-batches.

    When it was written, on which machine, and how long merging took may differ.

    Args:
        record: What was made of chunks.
        folder: Where ``write_record`` would write it.
        rows: Whether per-image rows belong to it, which must lie beside it.

    Returns:
        Its file; None if there is none.
    """
    folder, name = Path(folder), record_name(record)
    names, wanted = [name], _lasting(record)
    with suppress(TokbenchError):  # no record there, or none that can be read
        names.append(name + distinction(record, read_record(folder / f"{file_stem(name)}.json")))
    for stem in map(file_stem, names):
        for path in sorted(folder.glob(f"{glob.escape(stem)}*.json")):
            with suppress(TokbenchError):
                if _lasting(read_record(path)) == wanted and (not rows or path.with_suffix(".parquet").is_file()):
                    return path
    return None


def _lasting(record: Record) -> dict[str, Any]:
    """What stays the same however often chunks are merged."""
    values = record.to_dict()
    del values["created"], values["environment"], values["timing"]["total_seconds"]
    return values
