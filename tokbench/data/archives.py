"""Images in a zip file, read where they are: nothing is unpacked to disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar
from zipfile import ZipFile

from tokbench.data.annotations import as_caption, bad_caption
from tokbench.data.folder import StoredImages, caption_name, is_hidden, is_image_name, no_images, printable
from tokbench.errors import TokbenchError
from tokbench.images import UnreadableImage

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
        mine = self._mine
        if mine is None or mine[0] != os.getpid():
            mine = self._mine = (os.getpid(), threading.Lock(), self._open_file())
        _, lock, handle = mine
        with lock:
            yield handle

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
        self.name = path.name
        self._zip = PerProcess(partial(ZipFile, path))
        try:
            with self._zip.use() as archive:
                members = archive.NameToInfo
            cut = any(info.header_offset < 0 for info in members.values())
        except Exception as error:  # damaged archives raise many kinds: BadZipFile, OSError, ValueError, struct.error, ...
            raise TokbenchError(f"{path} is not a whole zip file ({error}); copy or download it again") from error
        if cut:
            raise TokbenchError(f"{path} is not a whole zip file (its beginning is missing); copy or download it again")
        self._members = sorted(name for name in members if is_image_name(name) and not is_hidden(name))
        if not self._members:
            raise no_images(str(path))
        if any(members[name].flag_bits & ENCRYPTED for name in self._members):
            raise TokbenchError(f"{path} needs a password; only zip files without one are read: unpack it and give the folder")
        self._texts = {caption_name(name) for name in self._members} & members.keys()
        self.ids = tuple(printable(name) for name in self._members)

    def read_bytes(self, index: int) -> bytes:
        """Decompress one member."""
        try:
            with self._zip.use() as archive:
                return archive.read(self._members[index])
        except Exception as error:  # a damaged member raises BadZipFile, zlib.error, EOFError, NotImplementedError, ...
            raise UnreadableImage.because(error) from error

    @property
    def has_captions(self) -> bool:
        """Whether any image has a text file of its name beside it."""
        return bool(self._texts)

    def caption(self, index: int) -> str | None:
        """Decompress the text file beside one image."""
        name = caption_name(self._members[index])
        if name not in self._texts:
            return None
        try:
            with self._zip.use() as archive:
                data = archive.read(name)
        except Exception as error:  # as above
            raise bad_caption(f"cannot be read ({error})", self.record(index)) from error
        return as_caption(data, self.record(index))
