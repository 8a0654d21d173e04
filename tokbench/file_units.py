"""Several files that belong together, or folders of them: all of them are there or none, whenever the process is killed.

They are written into a hidden folder and named at the end. What a killed process leaves is passed over by readers, and taken away by the next
write into the same folder: its lock went with the process.

    .NAME.draft/    the files, until NAME, the last of them, is there; its ``lock`` is locked
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain, islice
from pathlib import Path

from tokbench.errors import TokbenchError
from tokbench.files import DRAFT, Busy, cannot_write, locked, make_folder, sync_folder

MOST_SYNCED_ALONE = 1_000
"""Files of a folder that are put on the disk one by one: a call may take milliseconds, and there may be millions of files."""

_LOCK = "lock"
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


class Taken(TokbenchError):
    """What must not be overwritten is there already."""


@contextmanager
def atomic_unit(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Write new files, or folders of files, that belong together; nothing is overwritten.

    They are linked to their names one by one, the last last. Readers must start from that one: without it, the others do not count, and
    the next unit that is written into the folder takes them away.

    Args:
        folder: Made if missing.
        names: Names of what may be written, the last of which must be.

    Yields:
        A hidden folder to write them in.

    Raises:
        Taken: If one of the names is there.
        Busy: If another process is writing a unit of that last name.
        TokbenchError: If they cannot be written; nothing is left then.
    """
    try:
        with scratch_folder(folder, names[-1]) as draft:
            taken = next((folder / name for name in names if os.path.lexists(folder / name)), None)
            if taken is not None:
                raise Taken(f"{taken} is there already, and nothing is overwritten; choose another place")
            yield draft
            _link_all(draft, folder, names)
        sync_folder(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Write a new folder under a hidden name beside its place and move it there, whole; an empty one that is there gives way.

    Args:
        folder: Its place; folders above are made if missing.

    Yields:
        A hidden folder to write its files in.

    Raises:
        Taken: If something is there already.
        Busy: If another process is writing the same folder.
        TokbenchError: If it cannot be written; nothing is left then.
    """
    place = Path(os.path.realpath(folder))
    try:
        with scratch_folder(place.parent, place.name) as draft:
            whole = draft / place.name
            whole.mkdir()
            yield whole
            _sync_files(whole)
            with suppress(OSError):
                place.rmdir()  # goes only if it is empty
            if os.path.lexists(place):
                raise Taken(f"{folder} is there already, and nothing is overwritten; choose another place")
            os.replace(whole, place)
        sync_folder(place.parent)
    except OSError as error:
        raise cannot_write(folder, error) from error


@contextmanager
def scratch_folder(folder: Path, name: str) -> Iterator[Path]:
    """Make a hidden folder for what is needed on the way to a file; it goes at the end, or with the next one if the process is killed.

    Args:
        folder: To make it in; made if missing.
        name: Name of the file.

    Raises:
        Busy: If another process is at the same file.
        TokbenchError: If the folder cannot be made.
    """
    make_folder(folder)
    remove_abandoned_units(folder)
    draft = folder / f".{name}{DRAFT}"
    with _locked_draft(draft):
        try:
            yield draft
        finally:
            _remove_unit(draft)


def replace_files(draft: Path, folder: Path, *, last: str) -> None:
    """Move all files of a scratch folder within a folder into it, over those that are there.

    Args:
        draft: The scratch folder.
        folder: Where they go.
        last: The file without which the folder does not count: it goes before all others and comes after them.

    Raises:
        TokbenchError: If that fails on the way; the folder does not count then.
    """
    moving = sorted((file for file in _files(draft) if file.name != _LOCK), key=lambda file: file.name == last)
    try:
        for file in moving:
            _sync_file(file)
        (folder / last).unlink(missing_ok=True)
        for file in moving:
            os.replace(file, folder / file.name)
        sync_folder(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error


def remove_abandoned_units(folder: Path) -> None:
    """Remove what killed processes left half-written of units, in their hidden folders and out of them."""
    for draft in folder.glob(f".*{DRAFT}"):
        with suppress(OSError, Busy):
            if draft.is_symlink() or not draft.is_dir() or (any(draft.iterdir()) and not (draft / _LOCK).is_file()):
                continue  # not of this package
            with _locked_draft(draft):
                _remove_unit(draft)


def is_draft(path: Path) -> bool:
    """Whether a path leads through the hidden folder of a unit that is not whole; who walks through folders passes it over."""
    return any(part.startswith(".") and part.endswith(DRAFT) for part in path.parts)


@contextmanager
def _locked_draft(draft: Path) -> Iterator[None]:
    draft.mkdir(exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(draft / _LOCK))
        except FileNotFoundError as error:  # whoever tidied up took it for abandoned
            raise Busy(f"another process has just written into {draft.parent}; start again") from error
        except BaseException:
            with suppress(OSError):
                draft.rmdir()
            raise
        yield


def _link_all(draft: Path, folder: Path, names: Sequence[str]) -> None:
    for name in names:
        for file in _files(draft / name):
            _sync_file(file)
    for name in names:
        for file in _files(draft / name):
            place = folder / file.relative_to(draft)
            place.parent.mkdir(parents=True, exist_ok=True)
            _give_name(file, place)


def _files(place: Path) -> list[Path]:
    """The files of a folder, or the file itself; none if nothing is there."""
    if place.is_symlink() or not place.is_dir():
        return [place] if place.is_file() else []
    return [Path(folder, name) for folder, _, names in os.walk(place) for name in sorted(names)]


def _give_name(file: Path, place: Path) -> None:
    """Name a file; what is there already stays.

    Raises:
        Taken: If something is.
    """
    try:
        os.link(file, place)
    except FileExistsError as error:
        raise Taken(f"{place} is there already, and nothing is overwritten; choose another place") from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            os.close(os.open(place, os.O_CREAT | os.O_EXCL))
        except FileExistsError as taken:
            raise Taken(f"{place} is there already, and nothing is overwritten; choose another place") from taken
        os.replace(file, place)


def _remove_unit(draft: Path) -> None:
    """Remove a draft and, if its last file has not got its name, the names that others of its files have got."""
    folder, last = draft.parent, draft.name[1 : -len(DRAFT)]
    if not _is_same(draft / last, folder / last):
        for file in _files(draft):
            place = folder / file.relative_to(draft)
            if _is_same(file, place):
                with suppress(OSError):
                    place.unlink()
            with suppress(OSError):  # not empty
                while place.parent != folder:
                    place = place.parent
                    place.rmdir()
    order = [last, _LOCK]  # at the end, so that this can be gone on with
    for entry in sorted(draft.iterdir(), key=lambda entry: order.index(entry.name) if entry.name in order else -1):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            with suppress(OSError):
                entry.unlink()
    with suppress(OSError):
        draft.rmdir()


def _is_same(a: Path, b: Path) -> bool:
    try:
        return os.path.samestat(a.lstat(), b.lstat())
    except OSError:
        return False


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_files(folder: Path) -> None:
    """Put all files of a folder on the disk; very many by one call, where the system has one for all it holds."""
    files = (Path(inner, name) for inner, _, names in os.walk(folder) for name in names)
    few = list(islice(files, MOST_SYNCED_ALONE))
    if len(few) == MOST_SYNCED_ALONE and hasattr(os, "sync"):
        os.sync()
        return
    for file in chain(few, files):
        _sync_file(file)
