"""Open files that end: a pipe may have no other end, and a device no end at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


class NotRegular(ValueError):
    """A pipe, socket or device where a file is wanted."""


def open_regular(path: Path) -> tuple[BinaryIO, int]:
    """Open a regular file, or a link to one, without waiting.

    Args:
        path: Of the file.

    Returns:
        The file, open for reading bytes, and its size.

    Raises:
        OSError: If it cannot be opened, as a folder cannot.
        NotRegular: If it is another kind of file.
    """
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115  # the caller closes it
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        file.close()
        raise NotRegular("it is a pipe or a device, not a file")
    return file, status.st_size


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
