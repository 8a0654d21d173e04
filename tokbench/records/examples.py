"""Examples beside the record of a language model: some of what it was asked, with its answers, to be looked at; no torch."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tokbench.configs import build
from tokbench.errors import TokbenchError
from tokbench.escapes import visible
from tokbench.files import write_bytes
from tokbench.image_files import UnreadableImage
from tokbench.images import load_rgb
from tokbench.json_files import read_json
from tokbench.records.sheets import Sheet

FILE = "examples.json"

SHEETS = {"generate": "drawn", "edit": "edited", "complete": "completed", "describe": "scenes"}
"""Task to the sheet that its answers are on; what edits begin with lies beside them, and all else is on ``scenes``."""

MOST, MOST_BYTES, LARGEST = 1000, 4 * 2**20, 2048
"""Examples of a file, its bytes, and pixels of a side."""


@dataclass(frozen=True)
class Example:
    """One thing that a model was asked, and its answer. Pictures are uint8 ``[H, W, 3]``, all of one record alike.

    Args:
        task: ``generate``, ``edit``, ``complete`` or ``describe``.
        id: Name of the prompt, as in the values beside the record.
        words: What it was asked; empty where it was asked nothing in words.
        shown: Pictures that it was shown.
        right: The picture that is right; None where words are.
        answer: The picture that it made; None where it answered in words.
        text: Its answer in words.

    Raises:
        ValueError: If there is no such task.
    """

    task: str
    id: str
    words: str = ""
    shown: tuple[np.ndarray, ...] = ()
    right: np.ndarray | None = None
    answer: np.ndarray | None = None
    text: str = ""

    def __post_init__(self) -> None:
        if self.task not in SHEETS:
            raise ValueError(f"tasks are {', '.join(SHEETS)}, got {self.task!r}")


@dataclass(frozen=True)
class _Place:
    """A picture on a sheet."""

    sheet: str
    number: int


@dataclass(frozen=True)
class _Told:
    """An example as its file has it."""

    task: str
    id: str
    words: str
    shown: tuple[_Place, ...]
    right: _Place | None
    answer: _Place | None
    text: str


@dataclass(frozen=True)
class _File:
    height: int
    width: int
    layout: Sheet
    examples: tuple[_Told, ...]


def write_examples(examples: Sequence[Example], folder: Path) -> None:
    """Write examples as ``examples.json`` and sheets of their pictures as PNG; nothing where there are none.

    Args:
        examples: With at least one picture.
        folder: Made if missing.

    Raises:
        TokbenchError: If the folder cannot be written.
    """
    sheets: dict[str, list[np.ndarray]] = {}

    def put(picture: np.ndarray, sheet: str) -> _Place:
        there = sheets.setdefault(sheet, [])
        number = next((n for n, other in enumerate(there) if sheet == "scenes" and np.array_equal(other, picture)), len(there))
        if number == len(there):
            there.append(picture)
        return _Place(sheet, number)

    told = []
    for one in examples:
        own = SHEETS[one.task]
        begun = [put(picture, own if one.task == "edit" and picture is one.shown[-1] else "scenes") for picture in one.shown]
        answer = None if one.answer is None else put(one.answer, own)
        right = None if one.right is None else put(one.right, "scenes")
        told.append(_Told(one.task, one.id, one.words, tuple(begun), right, answer, one.text))
    if not sheets:
        return
    layout = Sheet()
    height, width, _ = next(iter(sheets.values()))[0].shape
    for name, pictures in sheets.items():
        stream = io.BytesIO()
        Image.fromarray(layout.draw(pictures)).save(stream, "PNG")
        write_bytes(folder / f"{name}.png", stream.getvalue())
    text = json.dumps(asdict(_File(height, width, layout, tuple(told))), indent=1)
    write_bytes(folder / FILE, text.encode("utf-8"))


def read_examples(record: str | Path) -> list[Example]:
    """Read the examples beside a record; none if there are none.

    Args:
        record: Its file.

    Raises:
        TokbenchError: If the file of examples, or a sheet of their pictures, is damaged or cannot be read.
    """
    folder = Path(record).with_suffix("")
    if not (folder / FILE).exists():
        return []
    try:
        found = build(_File, read_json(folder / FILE, most=MOST_BYTES))
        return _examples(found, folder)
    except (OSError, ValueError, TypeError) as error:
        why = visible(" ".join(str(error).split()))[:300]
        raise TokbenchError(f"cannot read the examples in {folder} ({why}); evaluate again, or remove the folder") from error


def _examples(found: Any, folder: Path) -> list[Example]:
    if len(found.examples) > MOST or not (0 < found.height <= LARGEST and 0 < found.width <= LARGEST):
        raise ValueError(f"at most {MOST} examples of at most {LARGEST} px, got {len(found.examples)} of {found.width}x{found.height}")
    sheets: dict[str, np.ndarray] = {}
    taken: dict[_Place, np.ndarray] = {}  # each once, so that they take no more memory than their sheets

    def take(place: _Place) -> np.ndarray:
        if place.sheet not in SHEETS.values():
            raise ValueError(f"sheets are {', '.join(SHEETS.values())}, got {place.sheet[:40]!r}")
        if place.sheet not in sheets:
            sheets[place.sheet] = _sheet(folder / f"{place.sheet}.png")
        if place not in taken:
            taken[place] = found.layout.cut(sheets[place.sheet], place.number, found.height, found.width)
        return taken[place]

    return [
        Example(
            one.task,
            one.id,
            one.words,
            tuple(map(take, one.shown)),
            None if one.right is None else take(one.right),
            None if one.answer is None else take(one.answer),
            one.text,
        )
        for one in found.examples
    ]


def _sheet(path: Path) -> np.ndarray:
    try:
        return np.asarray(load_rgb(path))
    except UnreadableImage as error:
        raise ValueError(f"{path.name}: {error}") from error
