"""Pairs for editing: a JSON-lines file beside an export, which names its images and says what was done.

::

    {"instruction": "make the circle green", "images": ["0007-before", "0007-after"]}
    {"instruction": "like the first image", "images": ["0008-style", "0008-before", "0008-after"]}

The last image is what comes out; one or two are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tokbench.configs import build
from tokbench.counting import counted
from tokbench.errors import TokbenchError
from tokbench.feed.dataset import TokenDataset
from tokbench.json_files import parse_json
from tokbench.lm.lines import lines
from tokbench.lm.row_ids import ids_of
from tokbench.lm.tasks import SHOWN

EXAMPLE = '{"instruction": "make it green", "images": ["before", "after"]}'
"""A line of such a file, for errors."""

MOST_IMAGES = max(SHOWN["edit"]) + 1
"""Images of an edit, the one that comes out among them."""

EDITS = "edits.jsonl"
"""Name of the file where the package writes one itself."""


@dataclass(frozen=True)
class Edit:
    """One line of the file.

    Args:
        instruction: What was done.
        images: Ids of the images shown, and of the one that comes out.

    Raises:
        ValueError: If the instruction is empty, or the images are too many or too few.
    """

    instruction: str
    images: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.instruction.strip():
            raise ValueError("its instruction is empty")
        self.instruction.encode()  # lone surrogates are no text
        allowed = [count + 1 for count in SHOWN["edit"]]
        if len(self.images) not in allowed:
            raise ValueError(f"it has {counted(len(self.images), 'image')}, an edit has {' or '.join(map(str, allowed))}")


class Edits:
    """The edits of a file, whose images are rows of an export. Numbers are kept of each edit, and its instruction is read when it is used.

    Args:
        path: The file.
        data: The export.

    Raises:
        TokbenchError: If the file cannot be read, is empty, or names an image that the export does not have.
    """

    def __init__(self, path: Path, data: TokenDataset) -> None:
        self.path = path
        edits, rows = _found(path, ids_of(data), data.folder)
        padded = [[-1] * (MOST_IMAGES - len(edit.images)) + [rows[name] for name in edit.images] for edit in edits]
        self._rows = np.array(padded, dtype=np.int64)
        self._bytes = np.array([edit.bytes for edit in edits], dtype=np.int64)
        self._places = np.array([edit.place for edit in edits], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._places)

    def rows(self, index: int) -> list[int]:
        """Rows of the images of an edit, the one that comes out last."""
        return [int(row) for row in self._rows[index] if row >= 0]

    def bytes(self, index: int) -> int:
        """Bytes of the instruction of an edit."""
        return int(self._bytes[index])

    def instruction(self, index: int) -> str:
        """What was done."""
        with self.path.open("rb") as file:
            file.seek(int(self._places[index]))
            return _edit(file.readline()).instruction


def check_edits(path: Path, ids: Iterable[str], place: str) -> None:
    """Refuse a file that cannot be read, or that names other images, before these are encoded.

    Args:
        path: The file.
        ids: Ids of the images.
        place: Where they lie.

    Raises:
        TokbenchError: As ``Edits``.
    """
    _found(path, ids, place)


class _Line(NamedTuple):
    """What is kept of a line."""

    place: int
    bytes: int
    images: tuple[str, ...]


def _found(path: Path, ids: Iterable[str], holder: str | Path) -> tuple[list[_Line], dict[str, int]]:
    """The edits of a file, and the numbers of their images among the ids."""
    edits, numbers = [], []
    for number, place, one in _edits(path):
        edits.append(_Line(place, len(one.instruction.encode()), one.images))
        numbers.append(number)
    if not edits:
        raise TokbenchError(f"{path} holds no edits; write a line of instruction and images for each, like {EXAMPLE}")
    wanted = {name for edit in edits for name in edit.images}
    rows = {name: row for row, name in enumerate(ids) if name in wanted}
    for number, edit in zip(numbers, edits, strict=True):
        if missing := [name for name in edit.images if name not in rows]:
            raise TokbenchError(f"{path}, line {number}: {holder} has no image {missing[0]!r}; export the images of all edits")
    return edits, rows


def _edits(path: Path) -> Iterator[tuple[int, int, Edit]]:
    for number, place, line in lines(path, what="edits"):
        try:
            yield number, place, _edit(line)
        except ValueError as error:
            raise TokbenchError(f"{path}, line {number}: {error}; a line is like {EXAMPLE}") from error


def _edit(line: bytes) -> Edit:
    edit = build(Edit, parse_json(line))
    assert isinstance(edit, Edit)
    return edit
