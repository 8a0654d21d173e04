"""The embedded photos: 153 freely licensed pictures, split by photo, cut into square crops when loaded.

The pool and its attribution lie in ``photos/``. A photo's crops are drawn by a generator seeded with the digest of its source, so they
are the same everywhere. First come one or two full squares, then squares of 0.3 to 0.75 times the short side. These overlap earlier ones
by at most half (intersection over union) and are not flat. Crops of one photo are correlated: confidence intervals are taken over photos.
"""

from __future__ import annotations

import csv
import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

import numpy as np
from PIL import Image

from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.images import load_rgb
from tokbench.resizing import resized

Split = Literal["train", "test"]
Box = tuple[int, int, int, int]

CROP_RULE = "photo-squares-1"
"""Name of the rule below; it changes whenever the rule does."""

SIZES = (32, 256)
"""Smallest and largest crop on request."""

MIN_SIDE, MAX_IOU, MIN_STD = 64, 0.5, 10.0
"""Shortest crop in source pixels, largest overlap of two crops, smallest luminance deviation in grey levels."""


@dataclass(frozen=True)
class Photo:
    """One row of ATTRIBUTION.csv."""

    id: str
    split: Split
    group: str
    crops: int
    licence: str
    author: str
    origin: str
    source_sha256: str

    def read_bytes(self) -> bytes:
        """The WebP file."""
        return (resources.files("tokbench.data") / "photos" / f"{self.id}.webp").read_bytes()

    @property
    def credit(self) -> str:
        """Author, licence and place, as far as they are known."""
        return ", ".join(part for part in (self.author or "unknown author", self.licence, self.origin) if part)


@cache
def photo_rows(split: Split) -> tuple[Photo, ...]:
    """The photos of a split, in the order of their ids."""
    text = (resources.files("tokbench.data") / "photos" / "ATTRIBUTION.csv").read_text(encoding="utf-8")
    rows = (row for row in csv.DictReader(text.splitlines()) if row["split"] == split)
    fields = ("id", "split", "group", "licence", "author", "origin", "source_sha256")
    photos = [Photo(crops=int(row["crops"]), **{name: row[name] for name in fields}) for row in rows]  # type: ignore[arg-type]
    return tuple(sorted(photos, key=lambda photo: photo.id))


def crop_boxes(photo: Photo, image: Image.Image) -> list[Box]:
    """Draw the crops of one photo.

    Args:
        photo: Its row; ``crops`` caps how many are drawn.
        image: Its pixels.

    Returns:
        ``(left, top, right, bottom)`` squares in source pixels.
    """
    luminance = np.asarray(image.convert("L"), dtype=np.float32)
    boxes: list[Box] = []
    for box in _candidates(random.Random(int(photo.source_sha256, 16)), *image.size):
        left, top, right, bottom = box
        if luminance[top:bottom, left:right].std() >= MIN_STD and all(_iou(box, other) <= MAX_IOU for other in boxes):
            boxes.append(box)
        if len(boxes) == photo.crops:
            break
    return boxes


def _candidates(rng: random.Random, width: int, height: int) -> Iterator[Box]:
    short = min(width, height)
    if max(width, height) >= 1.4 * short:  # two full squares, at both ends
        yield (0, 0, short, short)
        yield (width - short, height - short, width, height)
    else:
        left, top = (width - short) // 2, (height - short) // 2
        yield (left, top, left + short, top + short)
    for _ in range(5000):
        side = max(MIN_SIDE, round((0.3 + 0.45 * rng.random()) * short))
        left, top = int(rng.random() * (width - side + 1)), int(rng.random() * (height - side + 1))
        yield (left, top, left + side, top + side)


def _iou(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) ** 2 + (b[2] - b[0]) ** 2 - shared)


class WholePhotos(ImageSource):
    """The photos of one split, uncut: what training draws its random crops from.

    Args:
        split: ``train`` or ``test``.
    """

    def __init__(self, split: Split) -> None:
        self.name = f"photos/{split}"
        self.photos = photo_rows(split)
        self.ids = tuple(photo.id for photo in self.photos)

    def read(self, index: int) -> Image.Image:
        """Decode one photo."""
        return load_rgb(self.photos[index].read_bytes())

    def subject(self, index: int) -> str:
        """The group of the photo, such as ``fishes``."""
        return self.photos[index].group

    def raw_digest(self, index: int) -> bytes:
        """Digest of the WebP file."""
        return hashlib.sha256(self.photos[index].read_bytes()).digest()


class PhotoCrops(ImageSource):
    """The crops of one split at one size. Crops smaller than that size are left out, never enlarged.

    Args:
        split: ``train`` or ``test``.
        size: Side in pixels, 32 to 256. Up to 64 all crops serve; above, their number falls.
        scaled: Whether they come scaled to that size; else as they were cut, for a protocol to scale.

    Raises:
        TokbenchError: If the size is out of range.
    """

    def __init__(self, split: Split, size: int, *, scaled: bool = True) -> None:
        if not SIZES[0] <= size <= SIZES[1]:
            raise TokbenchError(f"the embedded photos come in sizes {SIZES[0]} to {SIZES[1]} px, got {size}; use --data for others")
        self.name, self.side = f"photos/{split}", size
        self.ready_size = size if scaled else None
        self._cuts = [(photo, number, box) for photo, number, box in _all_boxes(split) if box[2] - box[0] >= size]
        self.ids = tuple(f"{photo.id}/{number:02d}" for photo, number, _ in self._cuts)
        self._open: tuple[str, Image.Image] | None = None

    def read(self, index: int) -> Image.Image:
        """Cut one crop, and scale it to ``size`` (Lanczos) unless that is left to a protocol."""
        photo, _, box = self._cuts[index]
        opened = self._open  # read once: several threads may read at the same time
        if opened is None or opened[0] != photo.id:
            opened = self._open = (photo.id, load_rgb(photo.read_bytes()))
        if self.ready_size is None:
            return opened[1].crop(box)
        return resized(opened[1], (self.side, self.side), Image.Resampling.LANCZOS, box)

    def photo(self, index: int) -> Photo:
        """The photo a crop was cut from."""
        return self._cuts[index][0]

    def credit(self, index: int) -> str:
        """Whose the photo is that a crop was cut from."""
        return self.photo(index).credit

    def group(self, index: int) -> str:
        """The photo a crop was cut from."""
        return self._cuts[index][0].id

    def subject(self, index: int) -> str:
        """The group of the photo a crop was cut from, such as ``fishes``."""
        return self.photo(index).group

    def raw_digest(self, index: int) -> bytes:
        """Digest of the WebP file, the box and the rule."""
        photo, _, box = self._cuts[index]
        return hashlib.sha256(photo.read_bytes() + f"{CROP_RULE}:{box}".encode()).digest()


@cache
def _all_boxes(split: Split) -> tuple[tuple[Photo, int, Box], ...]:
    return tuple(
        (photo, number, box) for photo in photo_rows(split) for number, box in enumerate(crop_boxes(photo, load_rgb(photo.read_bytes())))
    )
