"""Pairs for editing: a JSON-lines file beside an export, which names its images and says what was done.

::

    {"instruction": "make the circle green", "images": ["0007-before", "0007-after"]}
    {"instruction": "like the first image", "images": ["0008-style", "0008-before", "0008-after"]}

The last image is what comes out; one or two are shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tokbench.configs import build
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
            raise ValueError(f"it has {len(self.images)} images, an edit has {' or '.join(map(str, allowed))}")


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
        edits = [(number, place, edit.images) for number, place, edit in _edits(path)]
        if not edits:
            raise TokbenchError(f"{path} holds no edits; write a line of instruction and images for each, like {EXAMPLE}")
        wanted = {name for *_, images in edits for name in images}
        rows = {name: row for row, name in enumerate(ids_of(data)) if name in wanted}
        for number, _, images in edits:
            if missing := [name for name in images if name not in rows]:
                raise TokbenchError(f"{path}, line {number}: {data.folder} has no image {missing[0]!r}; export the images of all edits")
        padded = [[-1] * (MOST_IMAGES - len(images)) + [rows[name] for name in images] for *_, images in edits]
        self._rows = np.array(padded, dtype=np.int64)
        self._places = np.array([place for _, place, _ in edits], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._places)

    def rows(self, index: int) -> list[int]:
        """Rows of the images of an edit, the one that comes out last."""
        return [int(row) for row in self._rows[index] if row >= 0]

    def instruction(self, index: int) -> str:
        """What was done."""
        with self.path.open("rb") as file:
            file.seek(int(self._places[index]))
            return _edit(file.readline()).instruction


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
