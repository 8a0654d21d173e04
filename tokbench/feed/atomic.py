"""Files that appear whole or not at all, whenever the process is killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tokbench.errors import TokbenchError

try:
    import fcntl
except ImportError:  # Windows has no such locks; there nothing guards against two processes with one file
    fcntl = None  # type: ignore[assignment]


class Busy(TokbenchError):
    """Another process is writing the same file."""


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file under a hidden name and move it to its own once it is on the disk.

    Args:
        path: Of the finished file, in a folder that exists.

    Yields:
        The open file.

    Raises:
        Busy: If another process is writing it.
        TokbenchError: If it cannot be written, as on a full disk; nothing is left then.
    """
    partial = partial_name(path)
    try:
        with _locked(partial) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.replace(partial, path)
            except BaseException:
                with suppress(OSError):
                    os.ftruncate(file.fileno(), 0)  # makes room for what is still buffered, which closing the file writes
                partial.unlink(missing_ok=True)
                raise
        _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path.parent, error) from error


def partial_name(path: Path) -> Path:
    """Where a file is written before it is whole."""
    return path.with_name(f".{path.name}.partial")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        TokbenchError: If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def remove_abandoned(folder: Path, wanted: set[str]) -> None:
    """Remove what killed processes left half-written of files that nobody is going to write.

    Args:
        folder: To look into.
        wanted: Names of the files that are still to be written, whose drafts will be overwritten.
    """
    for partial in folder.glob(".*.partial"):
        if partial.name[1 : -len(".partial")] not in wanted:
            with suppress(OSError, Busy), _locked(partial):
                partial.unlink(missing_ok=True)


def cannot_write(folder: Path, error: OSError) -> TokbenchError:
    """Build the error for a folder that cannot be written, to be raised by the caller."""
    reason = error.strerror or str(error) or type(error).__name__
    return TokbenchError(f"cannot write to {folder} ({reason}); make room or choose another --out")


@contextmanager
def _locked(partial: Path) -> Iterator[BinaryIO]:
    """Open a draft that no other process writes, emptied. The lock goes with the process, however it ends."""
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    with os.fdopen(descriptor, "r+b") as file:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Busy(f"another process is writing {partial.parent}; wait for it, or start all of them with torchrun") from error
            except OSError:
                pass  # a file system without locks
        if not _is_still_at(descriptor, partial):
            raise Busy(f"another process has just written into {partial.parent}; start again")
        os.ftruncate(descriptor, 0)
        yield file


def _is_still_at(descriptor: int, path: Path) -> bool:
    """Whether an open file still has its name: who held the lock before may have given it another one."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    """Put a new name on the disk, where the system can do that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
