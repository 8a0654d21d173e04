"""Scenes as the stages learn from them: so many of them, some rendered badly, each with one of its wordings."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from PIL import Image

from tokbench.data.scenes.drawing import draw
from tokbench.data.scenes.random_scenes import scene_of
from tokbench.data.scenes.scene import SCENE_RULE, Scene
from tokbench.data.scenes.words import captions
from tokbench.data.source import ImageSource

BLURRED = 2
"""How much smaller a bad rendering is before it is scaled up again."""


class StageScenes(ImageSource):
    """Training scenes by number.

    Args:
        count: How many.
        size: Side in pixels.
        low_quality: Share of them that is rendered badly, at half the size.
        seed: Number of the first; those of two stages overlap no further than they count.
    """

    name = "scenes"

    def __init__(self, count: int, *, size: int, low_quality: float = 0.0, seed: int = 0) -> None:
        self.ready_size = size
        self.ids = tuple(f"scene-{seed + number:09d}" for number in range(count))
        self._low_quality, self._seed = low_quality, seed
        self._scene = lru_cache(maxsize=64)(self._made)

    def read(self, index: int) -> Image.Image:
        """Draw one scene."""
        assert self.ready_size is not None
        size = self.ready_size
        picture = Image.fromarray(draw(self._scene(index), size))
        if self._bad(index):
            small = picture.resize((size // BLURRED, size // BLURRED), Image.Resampling.BOX)
            picture = small.resize((size, size), Image.Resampling.BILINEAR)
        return picture

    def raw_digest(self, index: int) -> bytes:
        """Digest of the rule, the number and the rendering."""
        return hashlib.sha256(f"{SCENE_RULE}:{self.ids[index]}:{self._bad(index)}".encode()).digest()

    def caption(self, index: int) -> str:
        """One of the wordings of the scene."""
        wordings = captions(self._scene(index))
        return wordings[int(self._chance(index, "wording") * len(wordings))]

    def _made(self, index: int) -> Scene:
        return scene_of(self._seed + index)

    def _bad(self, index: int) -> bool:
        return self._chance(index, "quality") < self._low_quality

    def _chance(self, index: int, purpose: str) -> float:
        """A number in [0, 1) for one scene and purpose."""
        digest = hashlib.sha256(f"{SCENE_RULE}:{purpose}:{self.ids[index]}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64
