"""The data set ``scenes``: as many drawn scenes as are asked for, each with a caption and a label."""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from functools import lru_cache
from itertools import product

from PIL import Image

from tokbench.data.photos import Photo, photo_rows
from tokbench.data.scenes.drawing import SCENE_SIZES, check_size, draw
from tokbench.data.scenes.random_scenes import scene_of
from tokbench.data.scenes.scene import COLOURS, SCENE_RULE, SHAPES, Scene
from tokbench.data.scenes.split import SPLITS, SceneSplit
from tokbench.data.scenes.words import captions
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError, unknown_name

MEASURED, TRAINED, MOST = 1000, 100_000, 10_000_000
"""Scenes to measure on and scenes to train on, unless a number is given, and how many there are at most."""

SPEC = re.compile(r"scenes(?:/(?P<split>[^:]*))?(?::(?P<count>.*))?")
"""How they are written: ``scenes``, ``scenes/SPLIT``, ``scenes:COUNT`` or ``scenes/SPLIT:COUNT``."""

CLASSES = tuple(f"{colour} {shape}" for colour, shape in product(COLOURS, SHAPES))
"""Names of the classes: colour and shape of the thing that is named first."""


class SceneSource(ImageSource):
    """A source that knows the scenes of its pictures."""

    metrics = ("scene_accuracy",)

    @abstractmethod
    def scene(self, index: int) -> Scene:
        """What one picture shows.

        Args:
            index: 0 to ``len - 1``.
        """


class SceneImages(SceneSource):
    """The scenes of the seeds from 0, drawn when they are read.

    Attributes:
        split: The split.

    Args:
        split: ``train``, ``test`` or ``held-out``.
        size: Side in pixels; None draws them at the largest one, as whole pictures to cut and to scale.
        count: How many.

    Raises:
        TokbenchError: If there is no such split, scenes are not drawn at this size, or there are not so many.
    """

    label_names = CLASSES

    def __init__(self, split: SceneSplit = "test", size: int | None = None, count: int = MEASURED) -> None:
        if split not in SPLITS:
            raise unknown_name("split of scenes", split, SPLITS)
        if size is not None:
            check_size(size)
        if not 1 <= count <= MOST:
            raise TokbenchError(f"the number of scenes is from 1 to {MOST}, got {count}")
        self.split = split
        self.name = f"scenes/{split}" if count == MEASURED else f"scenes/{split}:{count}"
        self.ready_size = size
        self._side = size or max(SCENE_SIZES)
        self.ids = tuple(f"{seed:08d}" for seed in range(count))

    def scene(self, index: int) -> Scene:
        """What one picture shows."""
        return _scene(self.split, int(self.ids[index]))

    def read(self, index: int) -> Image.Image:
        """Draw one scene."""
        return Image.fromarray(draw(self.scene(index), self._side))

    def raw_digest(self, index: int) -> bytes:
        """Digest of the rule, the size, the split, the seed and the photo behind the scene."""
        photo = self.scene(index).ground.photo
        behind = _digest(photo) if photo else b""
        return hashlib.sha256(f"{SCENE_RULE}:{self._side}:{self.split}:{self.ids[index]}\0".encode() + behind).digest()

    def caption(self, index: int) -> str:
        """One wording of a scene; its number decides which."""
        wordings = captions(self.scene(index))
        return wordings[int(self.ids[index]) % len(wordings)]

    def label(self, index: int) -> int:
        """Number of the colour and shape of the thing that is named first."""
        first = self.scene(index).things[0]
        return CLASSES.index(f"{first.colour} {first.shape}")

    def credit(self, index: int) -> str:
        """Whose the photo behind the things is; empty if there is none."""
        photo = self.scene(index).ground.photo
        return f"the photo behind the things, cut and muted, is by {_photo(photo).credit}" if photo else ""


def is_scenes(spec: str) -> bool:
    """Whether this is how the data set, or a part of it, is written; a folder of that name is written ``./scenes``."""
    return SPEC.fullmatch(spec) is not None


def open_scenes(spec: str, *, size: int | None, split: SceneSplit = "test", count: int = MEASURED) -> SceneImages:
    """Open scenes by how they are written.

    Args:
        spec: ``scenes``, ``scenes/SPLIT``, ``scenes:COUNT`` or ``scenes/SPLIT:COUNT``.
        size: Side in pixels; None for whole pictures.
        split: The split if none is named.
        count: How many if no number is given.

    Returns:
        The source.

    Raises:
        TokbenchError: If split, number or size are not allowed.
    """
    match = SPEC.fullmatch(spec)
    if match is None:
        raise ValueError(f"{spec!r} is not how scenes are written")
    given = match["count"]
    if given is not None and not re.fullmatch(r"[0-9]{1,8}", given):
        raise TokbenchError(
            f"the number of scenes is from 1 to {MOST}, got {given!r}; write it as in scenes/{match['split'] or split}:5000"
        )
    chosen = split if match["split"] is None else match["split"]
    return SceneImages(chosen, size, count if given is None else int(given))  # type: ignore[arg-type]  # which is checked there


@lru_cache(maxsize=256)
def _scene(split: SceneSplit, seed: int) -> Scene:
    return scene_of(seed, split)


@lru_cache(maxsize=256)
def _digest(photo: str) -> bytes:
    return hashlib.sha256(_photo(photo).read_bytes()).digest()


def _photo(name: str) -> Photo:
    return next(photo for photo in (*photo_rows("train"), *photo_rows("test")) if photo.id == name)
