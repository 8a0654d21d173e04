"""Arrays of .npy and .npz files, checked before a byte of them is taken: no objects, no size beyond the file; no torch."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from tokbench.regular import NotRegular, open_regular

MAX_COMPRESSED = 512 << 20
"""Bytes of a compressed array, which is held in memory; others are read where they lie."""


class BadArray(ValueError):
    """Why a file holds no plain array, in a few words."""


@dataclass(frozen=True)
class ArrayHeader:
    """What the beginning of a .npy file says of the array behind it.

    Args:
        shape: Shape of the array.
        dtype: Plain numbers, never objects.
        fortran_order: Whether the first axis changes fastest.
        offset: Where the numbers begin, in bytes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers."""
        return prod(self.shape) * self.dtype.itemsize


def read_header(file: io.BufferedIOBase) -> ArrayHeader:
    """Read the beginning of a .npy file.

    Args:
        file: At its first byte.

    Raises:
        BadArray: If it is no .npy file, or holds anything but numbers and truth values.
    """
    try:
        version = npy.read_magic(file)
        reader = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if reader is None:
            raise BadArray(f"it is of version {version[0]}.{version[1]}, which plain arrays never are")
        shape, fortran_order, dtype = reader(file)
    except BadArray:
        raise
    except Exception as error:  # whatever a damaged header leads its parser to
        raise BadArray("it is no .npy file, or its header is damaged") from error
    if dtype.hasobject or dtype.kind not in "biuf" or dtype.names is not None:
        raise BadArray(f"it holds {dtype}, not plain numbers")
    if len(shape) > 32 or not all(type(size) is int and 0 <= size < 2**48 for size in shape):
        raise BadArray("its shape is out of range")
    return ArrayHeader(shape, dtype, bool(fortran_order), file.tell())


def open_array(path: Path) -> np.ndarray:
    """Map the array of a .npy file, read-only.

    Args:
        path: A regular file.

    Raises:
        BadArray: If it is no .npy file of plain numbers, or not as long as its header says.
        OSError: If it cannot be opened.
    """
    try:
        file, size = open_regular(path)
    except NotRegular as error:
        raise BadArray(str(error)) from error
    with file:
        header = read_header(file)
    if header.offset + header.nbytes != size:
        raise BadArray(f"its header says {header.nbytes} bytes of numbers, it holds {size - header.offset}")
    if not header.nbytes:
        return np.empty(header.shape, header.dtype)
    return np.memmap(path, header.dtype, "r", header.offset, header.shape, "F" if header.fortran_order else "C")


def open_member(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Take one array of an .npz file: mapped where it is stored as it is, else read.

    Args:
        path: The file.
        archive: The same, opened.
        name: The array's name in it, with ``.npy``.

    Raises:
        BadArray: If it is no array of plain numbers, or compressed and larger than ``MAX_COMPRESSED``.
        BadZipFile: If it is damaged.
    """
    info = archive.getinfo(name)
    with archive.open(info) as file:
        header = read_header(file)  # type: ignore[arg-type]  # a buffered one, whatever its annotation says
        if header.offset + header.nbytes != info.file_size:
            raise BadArray(f"the header of {name} says {header.nbytes} bytes of numbers, it holds {info.file_size - header.offset}")
        if info.compress_type != zipfile.ZIP_STORED:
            if info.file_size > MAX_COMPRESSED:
                raise BadArray(f"{name} is compressed and larger than {MAX_COMPRESSED >> 20} MiB; save it with numpy.savez")
            return _shaped(np.frombuffer(file.read(header.nbytes), header.dtype), header)
    _check(archive, info)
    if not header.nbytes:
        return np.empty(header.shape, header.dtype)
    with path.open("rb") as raw:
        raw.seek(info.header_offset + 26)
        start = info.header_offset + 30 + sum(int.from_bytes(raw.read(2), "little") for _ in range(2))
    return np.memmap(path, header.dtype, "r", start + header.offset, header.shape, "F" if header.fortran_order else "C")


def _check(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Read a member once, which compares its checksum."""
    with archive.open(info) as file:
        while file.read(1 << 20):
            pass


def _shaped(values: np.ndarray, header: ArrayHeader) -> np.ndarray:
    if values.size * values.itemsize != header.nbytes:
        raise BadArray("it is cut short")
    return values.reshape(header.shape, order="F" if header.fortran_order else "C")
