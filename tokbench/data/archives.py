"""Images in a zip file, read where they are: nothing is unpacked to disk."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar
from zipfile import ZipFile

from tokbench.data.annotations import as_caption, bad_caption
from tokbench.data.folder import (
    MAX_NOTE_BYTES,
    StoredImages,
    is_hidden,
    is_image_name,
    is_other_image,
    is_text_name,
    no_images,
    printable,
    texts_of,
    touched_since,
    with_empty,
)
from tokbench.errors import TokbenchError
from tokbench.image_files import one_large_at_a_time, too_large
from tokbench.images import MAX_FILE_BYTES, UnreadableImage
from tokbench.names import Names

Handle = TypeVar("Handle")

ENCRYPTED = 0x1
"""Bit of a zip member's flags."""


class PerProcess(Generic[Handle]):
    """An open file shared by the threads of a process, one at a time; another process (forked or unpickled) opens its own.

    After a fork two processes share one file position, and each would read what the other had sought.

    Args:
        open_file: Opens the file.
    """

    def __init__(self, open_file: Callable[[], Handle]) -> None:
        """Remember how to open the file."""
        self._open_file = open_file
        self._mine: tuple[int, threading.Lock, Handle] | None = None

    @contextmanager
    def use(self) -> Iterator[Handle]:
        """Hold the file for one read.

        Yields:
            The open file.
        """
        while True:
            mine = self._mine
            if mine is None or mine[0] != os.getpid():
                mine = self._mine = (os.getpid(), threading.Lock(), self._open_file())
            _, lock, handle = mine
            with lock:
                if self._mine is mine:  # else it was closed while this thread waited for it, or another thread has opened it, too
                    yield handle
                    return

    def close(self, forget: Callable[[], object] = lambda: None) -> None:
        """Close the file once nobody holds it; the next one to use it opens it again.

        Args:
            forget: Called while nobody holds it, to let go of what was read from it.
        """
        mine = self._mine
        if mine is None or mine[0] != os.getpid():  # what another process has opened is its own
            return
        _, lock, handle = mine
        with lock:
            if self._mine is mine:
                forget()
                self._mine = None
                handle.close()  # type: ignore[attr-defined]  # every kind of file has it

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind."""
        return {"_open_file": self._open_file, "_mine": None}


class ZipSource(StoredImages):
    """The images of a zip file, by their path in it, with captions as in a folder.

    Args:
        path: The zip file.

    Raises:
        TokbenchError: If it is not a whole zip file, needs a password or holds no images.
    """

    def __init__(self, path: Path) -> None:
        """Read the central directory."""
        self.name, self._path = path.name, path
        self._zip = PerProcess(partial(ZipFile, path))
        try:
            with self._zip.use() as archive:
                members = archive.NameToInfo
            cut = any(info.header_offset < 0 for info in members.values())
        except Exception as error:  # damaged archives raise many kinds: BadZipFile, OSError, ValueError, struct.error, ...
            raise TokbenchError(f"{path} is not a whole zip file ({error}); copy or download it again") from error
        if cut:
            raise TokbenchError(f"{path} is not a whole zip file (its beginning is missing); copy or download it again")
        shown = {name: inside_name(name, windows=info.create_system == 0) for name, info in members.items()}
        if len(set(shown.values())) < len(shown):
            shown = {name: name for name in members}
        visible = {shown[name]: name for name in members if not is_hidden(shown[name])}
        files = sorted(name for name in visible if is_image_name(name))
        self.passed_over = tuple(sorted(printable(name) for name in visible if is_other_image(name)))
        if not files:
            raise no_images(str(path), self.passed_over)
        if any(members[visible[name]].flag_bits & ENCRYPTED for name in files):
            raise TokbenchError(f"{path} needs a password; only zip files without one are read: unpack it and give the folder")
        texts = texts_of(files, filter(is_text_name, visible))
        self._texts = Names.of(texts.get(name, "") for name in files)
        self._stored = {own: name for own, name in visible.items() if own != name}
        self._folders = _folders_of(visible)
        self.ids: Names = Names.of(files)  # a zip's names are decoded strictly, so that all can be printed

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders with images, and empty ones as deep in the tree as one of these."""
        return self._folders

    def release(self) -> None:
        """Close the zip, whose table of members takes half a kilobyte of each."""
        self._zip.close()

    def changed_since(self, index: int, moment: float) -> bool:
        """Whether the file with all of them was touched."""
        return touched_since(self._path, moment)

    def read_bytes(self, index: int) -> bytes:
        """Decompress one member."""
        return self._read(self.ids[index], MAX_FILE_BYTES)

    def _read(self, name: str, limit: int) -> bytes:
        try:
            with self._zip.use() as archive:
                info = archive.getinfo(self._stored.get(name, name))
                if info.file_size > limit:
                    raise too_large(info.file_size, limit)
                with one_large_at_a_time(info.file_size), archive.open(info) as member:
                    data = member.read(limit + 1)  # what it holds may be more than it says
            if len(data) > info.file_size:
                raise UnreadableImage("it holds more than its archive says")
            return data
        except UnreadableImage:
            raise
        except Exception as error:  # a damaged member raises BadZipFile, zlib.error, EOFError, NotImplementedError, ...
            raise UnreadableImage.because(error) from error

    @property
    def has_captions(self) -> bool:
        """Whether any image has a text file of its name beside it."""
        return len(self._texts.text) > 0

    def caption(self, index: int) -> str | None:
        """Decompress the text file beside one image."""
        name = self._texts[index]
        if not name:
            return None
        try:
            data = self._read(name, MAX_NOTE_BYTES)
        except UnreadableImage as error:
            raise bad_caption(f"cannot be read ({error})", self.record(index)) from error
        return as_caption(data, self.record(index))


def _folders_of(members: Collection[str]) -> tuple[str, ...]:
    used = {name.rpartition("/")[0] for name in members if is_image_name(name) or is_other_image(name)}
    inner = {name.rstrip("/").rpartition("/")[0] for name in members}
    return with_empty(used, {name.rstrip("/") for name in members if name.endswith("/")} - inner)


def inside_name(name: str, *, windows: bool) -> str:
    """Name a member as a path with forward slashes.

    Args:
        name: As the archive has it.
        windows: Whether it was packed there, where some programs write backslashes and drives.
    """
    return re.sub(r"^[A-Za-z]:/+", "", name.replace("\\", "/")) if windows and "\\" in name else name
