"""Arrays of .npy files, checked before a byte of them is taken: no objects, no size beyond the file; no torch."""

from __future__ import annotations

import io
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from tokbench.regular import NotRegular, open_regular


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
