"""Images in an array of bytes, as evaluators exchange them: .npz with ``arr_0`` ``[N, H, W, 3]``, or .npy."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from tokbench.arrays import ArrayHeader, BadArray, open_array, read_header
from tokbench.data.annotations import as_label
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.images import MAX_PIXELS, UnreadableImage

IMAGES, LABELS = "arr_0", "arr_1"
"""Names of the arrays, as numpy gives them to arrays without one; ADM's evaluator reads the first."""

MAX_COMPRESSED = 512 << 20
"""Bytes of a compressed array, which is held in memory; others are read where they lie."""


class BatchSource(ImageSource):
    """The images of an array of bytes, by their number of eight digits. A second array of one whole number each is their labels.

    Args:
        path: A file of ``numpy.savez``, ``numpy.savez_compressed`` or ``numpy.save``.

    Raises:
        TokbenchError: If it holds no array of bytes ``[N, H, W, 3]``, is damaged, or is compressed and larger than ``MAX_COMPRESSED``.
    """

    def __init__(self, path: Path) -> None:
        """Map or read the arrays."""
        self.name = path.name
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
        first = f"{IMAGES}.npy" if f"{IMAGES}.npy" in names else next((name for name in names if name.endswith(".npy")), None)
        if first is None:
            raise BadArray("it holds no array")
        images = _member(path, archive, first)
        labels = _member(path, archive, f"{LABELS}.npy") if f"{LABELS}.npy" in names and first == f"{IMAGES}.npy" else None
    return images, labels


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    info = archive.getinfo(name)
    with archive.open(info) as file:
        header = read_header(file)  # type: ignore[arg-type]  # a buffered one, whatever its annotation says
        if header.offset + header.nbytes != info.file_size:
            raise BadArray(f"the header of {name} says {header.nbytes} bytes of numbers, it holds {info.file_size - header.offset}")
        if info.compress_type != zipfile.ZIP_STORED:
            if info.file_size > MAX_COMPRESSED:
                raise BadArray(f"{name} is compressed and larger than {MAX_COMPRESSED >> 20} MiB; save it with numpy.savez")
            return _shaped(np.frombuffer(file.read(header.nbytes), header.dtype), header)
    _check(path, archive, info)
    if not header.nbytes:
        return np.empty(header.shape, header.dtype)
    with path.open("rb") as raw:
        raw.seek(info.header_offset + 26)
        start = info.header_offset + 30 + sum(int.from_bytes(raw.read(2), "little") for _ in range(2))
    return np.memmap(path, header.dtype, "r", start + header.offset, header.shape, "F" if header.fortran_order else "C")


def _check(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Read a member once, which compares its checksum."""
    with archive.open(info) as file:
        while file.read(1 << 20):
            pass


def _shaped(values: np.ndarray, header: ArrayHeader) -> np.ndarray:
    if values.size * values.itemsize != header.nbytes:
        raise BadArray("it is cut short")
    return values.reshape(header.shape, order="F" if header.fortran_order else "C")
