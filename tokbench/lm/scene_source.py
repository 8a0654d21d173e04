"""Scenes as the stages learn from them: so many of them and of their edits, some rendered badly, each in one of its wordings."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from pathlib import Path

from PIL import Image

from tokbench.data.scenes.drawing import check_size, draw
from tokbench.data.scenes.edits import EDIT_KINDS, Edit, EditKind, edit_of
from tokbench.data.scenes.random_scenes import scene_of
from tokbench.data.scenes.scene import SCENE_RULE, Scene
from tokbench.data.scenes.split import SPLITS
from tokbench.data.scenes.words import captions
from tokbench.data.source import ImageSource
from tokbench.files import write_text
from tokbench.resizing import resized

BLURRED = 2
"""How much smaller a bad rendering is before it is scaled up again."""


class StageScenes(ImageSource):
    """Training scenes by number, and behind them the images of training edits.

    Args:
        count: How many scenes.
        edits: How many edits, each of two or three images.
        size: Side in pixels.
        low_quality: Share of the images that are rendered badly, at half the size.
        first: Number of the first scene and of the first edit.
        kinds: Kinds of edit to draw from; one that is named twice comes twice as often.

    Raises:
        TokbenchError: If scenes are not drawn at this size.
    """

    name = "scenes"

    def __init__(
        self,
        count: int,
        *,
        size: int,
        edits: int = 0,
        low_quality: float = 0.0,
        first: int = 0,
        kinds: Sequence[EditKind] = EDIT_KINDS,
    ) -> None:
        check_size(size)
        self.ready_size, self._size, self._low_quality = size, size, low_quality
        self._edit = lru_cache(maxsize=64)(partial(edit_of, kinds=kinds))
        shown = [len(self._edit(first + number).shown) for number in range(edits)]
        self._places: list[tuple[int, int | None]] = [(number, None) for number in range(first, first + count)]
        self._places += [(first + number, part) for number, images in enumerate(shown) for part in range(images + 1)]
        self._edits = range(first, first + edits)
        self.ids = tuple(_name(number, part) for number, part in self._places)

    def read(self, index: int) -> Image.Image:
        """Draw one image."""
        size = self._size
        picture = Image.fromarray(draw(self.scene(index), size))
        if self._bad(index):
            small = resized(picture, (size // BLURRED, size // BLURRED), Image.Resampling.BOX)
            picture = resized(small, (size, size), Image.Resampling.BILINEAR)
        return picture

    def raw_digest(self, index: int) -> bytes:
        """Digest of the rule, the name and the rendering."""
        return _digest(self.ids[index], bad=self._bad(index))

    def group(self, index: int) -> str:
        """The images of an edit are alike."""
        return _whole(self.ids[index])

    def caption(self, index: int) -> str:
        """One of the wordings of the scene."""
        return _one_of(captions(self.scene(index)), f"wording {self.ids[index]}")

    def scene(self, index: int) -> Scene:
        """What is drawn.

        Args:
            index: 0 to ``len - 1``.
        """
        number, part = self._places[index]
        return scene_of(number) if part is None else _scenes(self._edit(number))[part]

    def write_edits(self, path: Path) -> None:
        """Write the file of edits that belongs to the images, each in one of its wordings.

        Raises:
            TokbenchError: If it cannot be written.
        """
        lines = []
        for number in self._edits:
            edit = self._edit(number)
            names = [_name(number, part) for part in range(len(edit.shown) + 1)]
            lines.append(json.dumps({"instruction": _one_of(edit.instructions, f"instruction {names[0]}"), "images": names}) + "\n")
        write_text(path, "".join(lines))

    def _bad(self, index: int) -> bool:
        """Whether an image is rendered badly; the images of an edit are alike in that."""
        return _quality(self.ids[index]) < self._low_quality


_OURS = (
    re.compile(r"scenes"),
    re.compile(r"scene-\d{9,}|edit-\d{9,}-\d"),
    re.compile(rf"scenes/(?:{'|'.join(SPLITS)})(?::\d+)?"),
    re.compile(r"\d{8}"),
)
"""Names and ids of ``StageScenes``, and of the data sets that ``tokbench export --data scenes/train`` takes."""


def are_scenes(name: str, first: str) -> bool:
    """Whether images are drawn scenes as they were drawn, and neither views of them nor a folder of that name.

    Args:
        name: What their source is called.
        first: Id of one of them.
    """
    stage, ids, split, numbers = _OURS
    return bool((stage.fullmatch(name) and ids.fullmatch(first)) or (split.fullmatch(name) and numbers.fullmatch(first)))


def numbers_of(name: str, ids: Iterable[str]) -> tuple[int, int, int] | None:
    """Say which of the scenes of stages images are.

    Args:
        name: What their source is called.
        ids: Ids of all of them.

    Returns:
        The number of the first, how many scenes there are, and how many edits; None if an image is none of these.
    """
    scenes, edits = list[int](), set[int]()
    if name != StageScenes.name:
        return None
    for one in ids:
        if not _OURS[1].fullmatch(one):
            return None
        kind, number = one.split("-")[:2]
        if kind == "scene":
            scenes.append(int(number))
        else:
            edits.add(int(number))
    first = min([*scenes, *edits], default=0)
    return first, len(scenes), len(edits)


def share_of_bad(images: Iterable[tuple[str, bytes]]) -> float | None:
    """The share of bad renderings that scenes were drawn with, or one that gives the same ones.

    Args:
        images: Ids, and digests as ``StageScenes.raw_digest`` has them.

    Returns:
        The share; None if an image was drawn by another rule.
    """
    worst, best = -1.0, 1.0
    for name, digest in images:
        if digest == _digest(name, bad=True):
            worst = max(worst, _quality(name))
        elif digest == _digest(name, bad=False):
            best = min(best, _quality(name))
        else:
            return None
    if worst < 0:
        return 0.0
    return best if worst < best else None


def _digest(name: str, *, bad: bool) -> bytes:
    return hashlib.sha256(f"{SCENE_RULE}:{name}:{bad}".encode()).digest()


def _quality(name: str) -> float:
    """The number that decides how an image is rendered; the images of an edit are alike in that."""
    return _chance(f"quality {_whole(name)}")


def _whole(name: str) -> str:
    """The id of the first image of an edit, or that of the scene itself."""
    return f"{name[:-1]}0" if name.startswith("edit-") else name


def _scenes(edit: Edit) -> tuple[Scene, ...]:
    return (*edit.shown, edit.after)


def _name(number: int, part: int | None) -> str:
    return f"scene-{number:09d}" if part is None else f"edit-{number:09d}-{part}"


def _one_of(wordings: Sequence[str], purpose: str) -> str:
    return wordings[int(_chance(purpose) * len(wordings))]


def _chance(purpose: str) -> float:
    """A number in [0, 1) for one purpose."""
    return int.from_bytes(hashlib.sha256(f"{SCENE_RULE}:{purpose}".encode()).digest()[:8], "big") / 2**64
