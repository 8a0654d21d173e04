"""What a folder of a trainer's format holds, in a hidden file beside it: what it was written from, and how."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tokbench.configs import build, differences, flat, plain
from tokbench.errors import TokbenchError
from tokbench.feed.job import ExportJob
from tokbench.feed.vocabulary import Vocabulary
from tokbench.feed.vocabulary_json import vocabulary_from_json
from tokbench.json_files import read_json, read_regular

RECORD, VOCABULARY = ".format.json", ".vocabulary.json"
"""Names of the files; readers of Parquet folders pass over hidden ones."""

SCHEMA = 1

MOST_BYTES = 32 * 2**20
"""Most bytes of either."""


@dataclass(frozen=True)
class FormatRecord:
    """What a folder holds.

    Args:
        format: Name of the format.
        settings: What its files depend on beside the export and the vocabulary.
        job: What was exported.
        rows: Rows in it; 0 while that is not known.
        data_digest: Digest of ids and sources, as in the summary of the export; empty while that is not known.
        vocabulary: The vocabulary as JSON values; empty for formats without sequences.
        schema: Schema of this description.
    """

    format: str
    settings: dict[str, Any]
    job: ExportJob
    rows: int
    data_digest: str
    vocabulary: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA


def check_place(place: Path, record: FormatRecord) -> bool:
    """Look at where a format shall be written; nothing is.

    Args:
        place: A folder; it need not exist.
        record: What shall be in it.

    Returns:
        Whether it is there already.

    Raises:
        TokbenchError: If something else is there.
    """
    if not os.path.lexists(place):
        return False
    if not place.is_dir():
        raise TokbenchError(f"{place} is a file; choose a folder for {record.format}")
    if not holds_format(place):
        try:
            full = next(place.iterdir(), None) is not None
        except OSError as error:
            raise TokbenchError(f"{place} cannot be read ({error.strerror}); choose another folder for {record.format}") from error
        if full:
            raise TokbenchError(f"{place} holds other files; choose another folder for {record.format}")
        return False
    there = read_format(place)
    known = record if record.data_digest else replace(record, rows=there.rows, data_digest=there.data_digest)
    if there == known:
        return True
    raise TokbenchError(f"{place} holds {_different(there, record)}; choose another folder for {record.format}, or delete it")


def _different(there: FormatRecord, here: FormatRecord) -> str:
    """Say in what a folder differs from what shall be in it."""
    if there.format != here.format:
        return f"an export as {there.format}"
    if different := differences(there.job, here.job):
        return f"tokens of another export: {different}"
    old, new = flat(there.settings), flat(here.settings)
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) != new.get(key):
            return f"sequences made otherwise: {key} is {old.get(key)} there and {new.get(key)} here"
    if there.vocabulary != here.vocabulary:
        return "sequences of another vocabulary"
    return "the same tokens of other images"


def write_record(folder: Path, record: FormatRecord, vocabulary: str) -> None:
    """Write the record into a folder that is not whole yet, and the vocabulary if there is one."""
    if vocabulary:
        (folder / VOCABULARY).write_text(vocabulary)
    (folder / RECORD).write_text(json.dumps(plain(record), indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_format(folder: str | Path) -> FormatRecord:
    """Read what a folder of a trainer's format holds.

    Raises:
        TokbenchError: If it holds none, or what it says of itself is damaged.
    """
    path = Path(folder) / RECORD
    try:
        record = build(FormatRecord, read_json(path, most=MOST_BYTES))
    except FileNotFoundError as error:
        raise TokbenchError(f"{folder} holds no export in the format of a trainer; write one with tokbench export --as FORMAT") from error
    except (OSError, ValueError) as error:
        raise TokbenchError(f"{path} is damaged ({error}); delete the folder and write it again") from error
    assert isinstance(record, FormatRecord)
    return record


def read_vocabulary(folder: str | Path, *, text_file: Path | None = None) -> Vocabulary:
    """Read the vocabulary of exported sequences.

    Args:
        folder: What ``write_format`` made, of a format with sequences.
        text_file: The ``tokenizer.json`` of its text, if it came from one; needed to write and read text.

    Raises:
        TokbenchError: If there is none, or it is damaged.
    """
    path = Path(folder) / VOCABULARY
    try:
        text = read_regular(path, most=MOST_BYTES).decode()
    except FileNotFoundError as error:
        raise TokbenchError(f"{folder} holds no sequences with a vocabulary; write them with tokbench export --as sequences") from error
    except (OSError, ValueError) as error:
        raise TokbenchError(f"{path} cannot be read ({error}); write the folder again") from error
    return vocabulary_from_json(text, text_file=text_file, origin=str(path))


def holds_format(folder: Path) -> bool:
    """Whether a folder holds an export in the format of a trainer."""
    return (folder / RECORD).is_file()


def refuse_format(folder: Path) -> None:
    """Refuse a folder of a trainer's format where an export is expected.

    Raises:
        TokbenchError: If it is one.
    """
    if holds_format(folder):
        raise TokbenchError(
            f"{folder} holds an export as trainers read it ({RECORD} says which); give the folder of the export it was written from"
        )
