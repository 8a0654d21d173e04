"""Files that appear whole or not at all, whenever the process is killed: whatever this package writes, it writes through here.

A file is written under a hidden name beside its place and moved there. What a killed process leaves is never looked at by readers, and is
taken away by the next write to the same place: its lock went with the process.

    .NAME.partial   a file until it is whole; locked by the process that writes it

Files that belong together are those of ``tokbench.file_units``.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from tokbench.errors import TokbenchError

try:
    import fcntl
except ImportError:  # Windows has no such locks; there nothing guards against two processes with one file
    fcntl = None  # type: ignore[assignment]

LONGEST_NAME = 255
"""Bytes of a file name on most file systems."""

DRAFT = ".draft"
"""Ending of the hidden folder that several files lie in until they are whole."""

TRIAL = 64 * 1024
"""Bytes that are written to see whether any can be: a small record takes as many with its rows."""

_PARTIAL = ".partial"
_ADVICE = {
    errno.ENOSPC: "make room or choose another place",
    errno.EDQUOT: "make room or choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EISDIR: "that is a folder; give a file",
}
"""What to do about an error, where choosing another place is not all."""


class Busy(TokbenchError):
    """Another process is writing the same file."""


def try_writing(folder: Path) -> None:
    """Write a little into a folder, which is gone at once.

    Raises:
        OSError: If that cannot be.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(TRIAL))


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file under a hidden name and move it to its own once it is on the disk.

    What a symbolic link points to is written, and the link stays. Devices and pipes are written as they are.

    Args:
        path: Path of the finished file, in a folder that exists.

    Yields:
        The open file.

    Raises:
        Busy: If another process is writing it.
        TokbenchError: If it cannot be written, as on a full disk; nothing is left then.
    """
    try:
        place = Path(os.path.realpath(path)) if os.path.islink(path) else path
        if _is_special(place):
            with place.open("wb") as stream:
                yield stream
            return
        partial = partial_name(place)
        with locked(partial) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                if fcntl is None:
                    file.close()  # Windows moves no open file
                os.replace(partial, place)
            except BaseException as error:
                with suppress(OSError, ValueError):
                    os.ftruncate(file.fileno(), 0)  # makes room for what is still buffered, which closing the file writes
                with suppress(OSError):
                    partial.unlink()
                failure = getattr(file.raw, "failure", None)
                if isinstance(error, Exception) and failure is not None and failure is not error:
                    raise cannot_write(path, failure) from error  # libraries wrap what they meet
                raise
        sync_folder(place.parent)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise cannot_write(path, error) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically; its folder is made if missing. Errors are those of ``atomic_file``."""
    make_folder(path.parent)
    with atomic_file(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 atomically; the folder is made if missing. Halves of characters, as odd file names hold, are written as escapes."""
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_copy(file: Path, path: Path) -> None:
    """Have a whole file at another path too, which takes no room where the disk has links; what is there already stays.

    Args:
        file: What is copied, and not changed afterwards by anyone.
        path: Path of the copy; its folder is made if missing.

    Raises:
        TokbenchError: If it cannot be written.
    """
    make_folder(path.parent)
    try:
        os.link(file, path)
    except FileExistsError:  # another process was first
        return
    except OSError:  # another disk, or one without links
        with file.open("rb") as source, atomic_file(path) as copy:
            shutil.copyfileobj(source, copy)


def partial_name(path: Path) -> Path:
    """Where a file is written before it is whole."""
    name = f".{path.name}{_PARTIAL}"
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]}{_PARTIAL}"
    return path.with_name(name)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        TokbenchError: If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


@contextmanager
def made_folder(folder: Path, *, alone: bool) -> Iterator[None]:
    """Make a folder and those above it. Where work in it fails, those that were made and hold nothing go again.

    Args:
        folder: Its place.
        alone: Whether no other process works in it; else it stays.

    Raises:
        TokbenchError: If it cannot be made.
    """
    made = [place for place in (folder, *folder.parents) if alone and not place.exists()]
    make_folder(folder)
    try:
        yield
    except BaseException:
        for place in made:
            with suppress(OSError):  # it is not empty
                place.rmdir()
        raise


def remove_abandoned(folder: Path, wanted: set[str]) -> None:
    """Remove what killed processes left half-written of files that nobody is going to write.

    Args:
        folder: To look into; of this package alone.
        wanted: Names of the files that are still to be written, whose drafts will be overwritten.
    """
    kept = {partial_name(folder / name).name for name in wanted}
    for partial in folder.glob(f".*{_PARTIAL}"):
        if partial.name not in kept:
            with suppress(OSError, Busy), locked(partial):
                partial.unlink(missing_ok=True)


@contextmanager
def folder_lock(folder: Path, use: str, *, other: str | None = None) -> Iterator[None]:
    """Keep other processes out of a folder; a killed one keeps nobody out.

    Args:
        folder: That exists.
        use: What for, such as ``train``; other uses are not kept out.
        other: What another process that has it does, in words for the user.

    Raises:
        Busy: If another process has it.
        TokbenchError: If the folder cannot be written.
    """
    lock = folder / f".{use}.lock"
    try:
        with ExitStack() as held:
            try:
                held.enter_context(locked(lock))
            except Busy as error:
                if other is None:
                    raise
                raise Busy(f"another process {other}; wait for it to end, or choose another --out") from error
            try:
                yield
            finally:
                with suppress(OSError):
                    lock.unlink()
    except OSError as error:
        if error.filename is not None and Path(error.filename) == lock:
            raise cannot_write(folder, error) from error
        raise


def is_locked(folder: Path, use: str) -> bool:
    """Whether another process has a folder for some use, as ``folder_lock`` gives it; never where the system has no locks."""
    if fcntl is None:
        return False
    try:
        with (folder / f".{use}.lock").open("rb") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:  # there is none, or a file system without locks
        return False


@contextmanager
def open_log(path: Path) -> Iterator[Callable[[str], None]]:
    """Append to a file line by line, each of them whole.

    Args:
        path: Path of the file; made if missing.

    Yields:
        What appends a text.

    Raises:
        TokbenchError: If that cannot be done.
    """

    def append(text: str) -> None:
        try:
            file.write(text.encode())
        except OSError as error:
            raise cannot_write(path, error) from error

    try:
        file = path.open("ab", buffering=0)
    except OSError as error:
        raise cannot_write(path, error) from error
    with file:
        yield append


def cannot_write(place: Path, error: OSError) -> TokbenchError:
    """Build the error for a file or folder that cannot be written, to be raised by the caller."""
    reason = error.strerror or str(error) or type(error).__name__
    advice = _ADVICE.get(error.errno or 0, "choose another place")
    return TokbenchError(f"cannot write to {_finished(place)} ({reason}); {advice}")


def _finished(place: Path) -> Path:
    """Where what lies at a place will be once it is whole: users know nothing of hidden names."""
    shown = [part for part in place.parts if not (part.startswith(".") and part.endswith(DRAFT))]
    if shown and shown[-1].startswith(".") and shown[-1].endswith(_PARTIAL):
        shown[-1] = shown[-1][1 : -len(_PARTIAL)] or shown[-1]
    return Path(*shown)


class _Draft(io.FileIO):
    """A file that remembers why it could not be written, whatever becomes of the error on its way through a library."""

    failure: OSError | None = None

    def write(self, data: Any) -> Any:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


@contextmanager
def locked(path: Path) -> Iterator[io.BufferedRandom]:
    """Open a file that no other process writes, emptied. The lock goes with the process, however it ends."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags, 0o666)
    with io.BufferedRandom(_Draft(descriptor, "r+b")) as file:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Busy(f"another process is writing into {path.parent}; wait for it to end") from error
            except OSError:
                pass  # a file system without locks
        if not _is_still_at(descriptor, path):
            raise Busy(f"another process has just written into {path.parent}; start again")
        os.ftruncate(descriptor, 0)
        yield file


def _is_still_at(descriptor: int, path: Path) -> bool:
    """Whether an open file still has its name: who held the lock before may have given it another one."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _is_special(path: Path) -> bool:
    """Whether something is there that is neither file nor folder: a device, a pipe."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def sync_folder(folder: Path) -> None:
    """Put a new name on the disk, where the system can do that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
