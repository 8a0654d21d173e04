"""The data set ``faces``: the faces found in pictures, cut out one by one.

A network finds them in the whole picture. Each is cut as a square a quarter larger than what it found, so that a face fills the middle of
every image. Faces smaller than the images asked for are left out, never enlarged.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tokbench.counting import counted
from tokbench.data.face_package import load_face_detector
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.images import UnreadableImage
from tokbench.resizing import resized

if TYPE_CHECKING:
    from tokbench.nn.face_detection import FaceDetector

FACE_RULE = "face-squares-1"
"""Name of the rule below; it changes whenever the rule does."""

DETECTION_SIZE, MIN_SCORE = 416, 0.65
"""Longest side of a picture in which faces are looked for, and how certain the network must be."""

MARGIN = 1.25
"""Side of the square over the longer side of what the network found."""

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class _Cut:
    """A face in a picture; without a box the picture could not be read."""

    id: str
    picture: int
    box: Box | None


class FaceCrops(ImageSource):
    """The faces in the pictures of another source. Opening it looks through all of them.

    A picture that cannot be read counts as one face that cannot be read, so that it is skipped and named.

    Args:
        pictures: Whole pictures.
        size: Side of the images in pixels.
        name: What to call them.

    Raises:
        TokbenchError: If the network has not been fetched or no face is found.
    """

    metrics = ("face_similarity",)

    def __init__(self, pictures: ImageSource, size: int, *, name: str) -> None:
        self.name, self.ready_size = name, size
        self._pictures, self._size = pictures, size
        detector = load_face_detector()
        found = [cut for index in range(len(pictures)) for cut in _cuts(pictures, index, detector)]
        if not any(cut.box for cut in found):
            raise TokbenchError(f"no face is found in the {counted(len(pictures), 'picture')} of {pictures.name}; give others")
        self._found = [cut for cut in found if cut.box is None or cut.box[2] - cut.box[0] >= size]
        self.ids = tuple(cut.id for cut in self._found)
        self._open: tuple[int, Image.Image] | None = None

    def read(self, index: int) -> Image.Image:
        """Cut one face and scale it to ``size`` (Lanczos).

        Raises:
            UnreadableImage: If its picture cannot be read.
        """
        cut = self._found[index]
        opened = self._open  # read once: several threads may read at the same time
        if opened is None or opened[0] != cut.picture:
            opened = self._open = (cut.picture, self._pictures.read(cut.picture))
        if cut.box is None:
            raise UnreadableImage("it could not be read when faces were looked for")
        return resized(opened[1], (self._size, self._size), Image.Resampling.LANCZOS, cut.box)

    def group(self, index: int) -> str:
        """The picture a face was cut from."""
        return self._pictures.ids[self._found[index].picture]

    def changed_since(self, index: int, moment: float) -> bool:
        """Whether the file of its picture was touched."""
        return self._pictures.changed_since(self._found[index].picture, moment)

    def raw_digest(self, index: int) -> bytes:
        """Digest of the picture's own, the box and the rule."""
        cut = self._found[index]
        return hashlib.sha256(self._pictures.raw_digest(cut.picture) + f"{FACE_RULE}:{cut.box}".encode()).digest()


def _cuts(pictures: ImageSource, index: int, detector: FaceDetector) -> list[_Cut]:
    name = pictures.ids[index]
    try:
        image = pictures.read(index)
    except UnreadableImage:
        return [_Cut(name, index, None)]
    return [_Cut(f"{name}/{number:02d}", index, box) for number, box in enumerate(face_boxes(image, detector))]


def face_boxes(image: Image.Image, detector: FaceDetector) -> list[Box]:
    """Find the faces of a picture.

    Args:
        image: RGB, of any size.
        detector: The network.

    Returns:
        Left, top, right and bottom of squares inside the picture, from left to right.
    """
    import torch

    scale = DETECTION_SIZE / max(image.size)
    small = resized(image, (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BILINEAR)
    canvas = Image.new("RGB", (DETECTION_SIZE, DETECTION_SIZE))
    canvas.paste(small)
    pixels = torch.from_numpy(np.array(canvas)).permute(2, 0, 1)[None].float()
    boxes = []
    for _, left, top, right, bottom in detector.find(pixels, min_score=MIN_SCORE):
        side = min(round(MARGIN * max(right - left, bottom - top) / scale), *image.size)
        corner = ((left + right) / 2 / scale - side / 2, (top + bottom) / 2 / scale - side / 2)
        x, y = (min(max(0, round(at)), length - side) for at, length in zip(corner, image.size, strict=True))
        boxes.append((x, y, x + side, y + side))
    return sorted(boxes)
