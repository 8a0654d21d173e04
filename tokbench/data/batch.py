"""Images in an array of bytes, as evaluators exchange them: .npz with ``arr_0`` ``[N, H, W, 3]``, or .npy."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from tokbench.arrays import BadArray, open_array, open_member, read_header
from tokbench.data.annotations import as_label
from tokbench.data.folder import touched_since
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.escapes import visible
from tokbench.images import MAX_PIXELS, UnreadableImage

IMAGES, LABELS = "arr_0", "arr_1"
"""Names of the arrays, as numpy gives them to arrays without one; ADM's evaluator reads the first."""


class BatchSource(ImageSource):
    """The images of an array of bytes, by their number of eight digits. A second array of one whole number each is their labels.

    Args:
        path: A file of ``numpy.savez``, ``numpy.savez_compressed`` or ``numpy.save``.

    Raises:
        TokbenchError: If it holds no array of bytes ``[N, H, W, 3]``, is damaged, or is compressed and larger than 512 MiB.
    """

    def __init__(self, path: Path) -> None:
        """Map or read the arrays."""
        self.name, self._path = path.name, path
        try:
            images, labels = (open_array(path), None) if path.suffix.lower() == ".npy" else _arrays(path)
        except (BadArray, OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, MemoryError) as error:
            why = " ".join(str(error).split()) or type(error).__name__
            raise TokbenchError(f"{path} holds no images ({why}); save them with numpy.savez as arr_0, uint8 [N, H, W, 3]") from error
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not images.size:
            raise TokbenchError(f"{path} holds {images.dtype} {list(images.shape)}; images are uint8 [N, H, W, 3], of one pixel or more")
        if images.shape[1] * images.shape[2] > MAX_PIXELS:
            raise TokbenchError(f"{path} holds images of {images.shape[2]}x{images.shape[1]} pixels, more than {MAX_PIXELS}")
        if labels is not None and (labels.shape != (len(images),) or labels.dtype.kind not in "iu"):
            labels = None  # ADM's files may hold other things there
        self._images, self._labels = images, labels
        self.ids = tuple(f"{number:08d}" for number in range(len(images)))

    def read(self, index: int) -> Image.Image:
        """Take one image."""
        try:
            return Image.fromarray(np.array(self._images[index]))
        except (OSError, ValueError) as error:
            raise UnreadableImage.because(error) from error

    def raw_digest(self, index: int) -> bytes:
        """SHA-256 of its bytes."""
        return hashlib.sha256(self._images[index].tobytes()).digest()

    def changed_since(self, index: int, moment: float) -> bool:
        """Whether the file with all of them was touched."""
        return touched_since(self._path, moment)

    @property
    def has_labels(self) -> bool:
        """Whether there is a second array of one whole number an image."""
        return self._labels is not None

    def label(self, index: int) -> int | None:
        """Take one number."""
        return None if self._labels is None else as_label(int(self._labels[index]), self.record(index))


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        first = f"{IMAGES}.npy" if f"{IMAGES}.npy" in names else _unnamed(path, archive, [name for name in names if name.endswith(".npy")])
        images = open_member(path, archive, first)
        labels = open_member(path, archive, f"{LABELS}.npy") if f"{LABELS}.npy" in names and first == f"{IMAGES}.npy" else None
    return images, labels


def _unnamed(path: Path, archive: zipfile.ZipFile, names: list[str]) -> str:
    """The array of images where none has the usual name: the only one there is, or the only one of bytes ``[N, H, W, 3]``."""
    if not names:
        raise BadArray("it holds no array")
    found = [name for name in names if _holds_images(archive, name)] if len(names) > 1 else names
    if len(found) > 1:
        told = " and ".join(visible(name.removesuffix(".npy")) for name in found[:2])
        raise TokbenchError(
            f"{path} holds {len(found)} arrays of images, such as {told}; save the one that is meant as {IMAGES}, or in a file of its own"
        )
    return (found or names)[0]


def _holds_images(archive: zipfile.ZipFile, name: str) -> bool:
    try:
        with archive.open(name) as file:
            header = read_header(file)  # type: ignore[arg-type]  # a buffered one, whatever its annotation says
    except BadArray:
        return False
    return header.dtype == np.uint8 and len(header.shape) == 4 and header.shape[3] == 3
