"""Open files that end: a pipe may have no other end, and a device no end at all."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path


class NotRegular(ValueError):
    """A folder, pipe, socket or device where a file is wanted."""


def open_regular(path: Path) -> tuple[io.BufferedReader, int]:
    """Open a regular file, or a link to one, without waiting.

    Args:
        path: Path of the file.

    Returns:
        The file, open for reading bytes, and its size.

    Raises:
        OSError: If it cannot be opened.
        NotRegular: If it is a folder, a pipe or a device.
    """
    try:
        file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115  # the caller closes it
    except IsADirectoryError as error:
        raise NotRegular("it is a folder, not a file") from error
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        file.close()
        raise NotRegular("it is a pipe or a device, not a file")
    return file, status.st_size


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
