"""Whether something can be written where a user wants it, asked before the work begins that leads to it."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from tokbench.errors import TokbenchError
from tokbench.files import try_writing


def check_file(path: Path, option: str) -> None:
    """Refuse a place that cannot become a file; what is there will be replaced, and folders above are made then.

    Args:
        path: Where it shall lie. A device or pipe that is there is written as it is.
        option: By which the user named it, such as ``--output``.

    Raises:
        TokbenchError: If it is a folder or ``-``, or lies where nothing can be written.
    """
    _refuse_dash(path, option)
    mode = _mode(path, option)
    if mode is not None and stat.S_ISDIR(mode):
        raise TokbenchError(f"{option} {str(path)!r} is a folder; give a file, such as {str(path / 'name')!r}")
    if mode is None or stat.S_ISREG(mode):
        _check_above(path.parent, f"{option} {str(path)!r}")


def check_folder(path: Path, option: str) -> None:
    """Refuse a place that cannot become a folder to write into; it and those above it are made when it is written.

    Args:
        path: Where it shall lie, or lies.
        option: By which the user named it, such as ``--out``.

    Raises:
        TokbenchError: If it is a file or ``-``, or lies where nothing can be written.
    """
    _refuse_dash(path, option)
    mode = _mode(path, option)
    if mode is not None and not stat.S_ISDIR(mode):
        raise TokbenchError(f"{option} {str(path)!r} is no folder; choose another place")
    _check_above(path, f"{option} {str(path)!r}")


def _refuse_dash(path: Path, option: str) -> None:
    if str(path) == "-":
        raise TokbenchError(f"{option} takes a path, and '-' is none for standard output; write ./- for a place of that name")


def _mode(path: Path, option: str) -> int | None:
    """Kind of what is there; None if nothing is."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise TokbenchError(f"{option} {str(path)!r} cannot be written ({error.strerror}); choose another place") from error


def _check_above(folder: Path, what: str) -> None:
    """Look at the nearest folder that exists: it must be one, and let itself be written."""
    for place in (folder, *folder.parents):
        try:
            found = place.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            if place.is_symlink():
                raise TokbenchError(f"{what} leads through {str(place)!r}, a link to nothing; choose another place") from error
            continue
        except OSError as error:
            raise TokbenchError(f"{what} cannot be written ({error.strerror}); choose another place") from error
        if not stat.S_ISDIR(found.st_mode):
            raise TokbenchError(f"{what} leads through {str(place)!r}, which is no folder; choose another place")
        if found.st_nlink == 0:
            raise TokbenchError(f"{what} lies in a folder that was deleted; go to another one, or give a whole path")
        if not os.access(place, os.W_OK | os.X_OK):
            raise TokbenchError(f"{what} lies in {str(place)!r}, which cannot be written; choose another place")
        _try(place, what)
        return


def _try(folder: Path, what: str) -> None:
    """Write a little: some file systems say no only then, and a disk that is full."""
    try:
        try_writing(folder)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise TokbenchError(
            f"{what} lies in {str(folder)!r}, which cannot be written ({error.strerror}); {'make room or ' if full else ''}choose another place"
        ) from error
