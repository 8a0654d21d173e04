"""The records that are to be explained, by file, folder or name, and those that may lie between them; no torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokbench.errors import TokbenchError, unknown_name
from tokbench.records.naming import record_name, subject_label
from tokbench.records.record import Record
from tokbench.records.store import find_records

Item = tuple[Path, Record]

NAMED = 4
"""Records that an error names."""


def find_one(given: str, places: Sequence[Path]) -> Item:
    """Find the record that a user means.

    Args:
        given: A file, a folder that holds one record, or a name: of a record's file, or of its tokenizer.
        places: Where names are looked for.

    Raises:
        TokbenchError: If there is none, or more than one.
    """
    if os.path.exists(given):
        return _only(given, find_records([Path(given)]))
    known = find_records(places) if places else []
    for names in (_file_names, _subjects):
        found = [item for item in known if given in names(item)]
        if found:
            return _only(given, found)
    if not known or given.endswith(".json") or (os.sep in given.rstrip(os.sep) and os.path.exists(os.path.dirname(given))):
        raise TokbenchError(
            f"{given} is neither a file nor a folder, and --results names none of that name; give a record file, or a name in --results"
        )
    raise unknown_name("record", given, {name for item in known for name in _subjects(item)}, hint="Names are looked for in --results.")


def around(files: Iterable[Path], places: Sequence[Path]) -> list[Item]:
    """Find the records that may lie between others: those in the same folders, not below, and those in places.

    Raises:
        TokbenchError: If one of them is damaged.
    """
    beside = [Path(folder) for folder in dict.fromkeys(os.path.dirname(file) or "." for file in files)]
    found = {os.path.realpath(path): (path, record) for path, record in find_records(beside, may_be_none=True, below=False)}
    for path, record in find_records(places, may_be_none=True) if places else []:
        found.setdefault(os.path.realpath(path), (path, record))
    return list(found.values())


def _file_names(item: Item) -> tuple[str, ...]:
    return item[0].stem, item[0].name


def _subjects(item: Item) -> tuple[str, ...]:
    record = item[1]
    return record.tokenizer.name, subject_label(record.tokenizer), record_name(record)


def _only(given: str, found: Sequence[Item]) -> Item:
    if len(found) > 1:
        names = ", ".join(path.stem for path, _ in found[:NAMED]) + (", ..." if len(found) > NAMED else "")
        raise TokbenchError(f"{given} may be one of {len(found)} records ({names}); give the file of one, or its name")
    return found[0]
