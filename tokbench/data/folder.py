"""Images in a folder, and what every source of stored image files shares."""

from __future__ import annotations

import hashlib
import os
from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from heapq import heappop, heappush
from pathlib import Path

from PIL import Image

from tokbench.data.annotations import as_caption, bad_caption
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.images import UnreadableImage, load_rgb

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif", "jp2", "avif")
"""Extensions of the files that count as images, in any case."""


class StoredImages(ImageSource):
    """A source whose images are files, or members of one: pixels and digest follow from the stored bytes."""

    @abstractmethod
    def read_bytes(self, index: int) -> bytes:
        """The stored bytes of one image.

        Args:
            index: 0 to ``len - 1``.

        Returns:
            An image file, undecoded.

        Raises:
            UnreadableImage: If the bytes cannot be had.
        """

    def read(self, index: int) -> Image.Image:
        """Decode one image."""
        return load_rgb(self.read_bytes(index))

    def open(self, index: int) -> tuple[Image.Image, bytes]:
        """Decode one image and digest its bytes, which are read once."""
        data = self.read_bytes(index)
        return load_rgb(data), hashlib.sha256(data).digest()

    def raw_digest(self, index: int) -> bytes:
        """SHA-256 of the stored bytes.

        Raises:
            UnreadableImage: If the bytes cannot be had.
        """
        return hashlib.sha256(self.read_bytes(index)).digest()


class FolderSource(StoredImages):
    """All images below a folder, by their path relative to it. Hidden files and folders are left out.

    The caption of ``a.png`` is the text of ``a.txt`` beside it, if there is one.

    Args:
        root: The folder.

    Raises:
        TokbenchError: If it is not a folder, cannot be listed or holds no images.
    """

    def __init__(self, root: Path) -> None:
        """List the folder."""
        if not root.is_dir():
            raise TokbenchError(f"{root} is not a folder; give a folder of images")
        self.name = Path(os.path.abspath(root)).name or "root"
        self._root = root
        self._files = sorted(walk_images(root))
        if not self._files:
            raise no_images(str(root))
        self.ids = tuple(printable(file) for file in self._files)

    def read_bytes(self, index: int) -> bytes:
        """The bytes of one file."""
        return read_file(self._root / self._files[index])

    @cached_property
    def has_captions(self) -> bool:
        """Whether any image has a text file of its name beside it."""
        wanted = {caption_name(file) for file in self._files}
        for inside in sorted({file.rpartition("/")[0] for file in self._files}):
            try:
                names = os.listdir(self._root / inside)
            except OSError as error:
                raise cannot_list(self._root / inside, error) from error
            if any((f"{inside}/{name}" if inside else name) in wanted for name in names):
                return True
        return False

    def caption(self, index: int) -> str | None:
        """Read the text file beside one image."""
        try:
            data = (self._root / caption_name(self._files[index])).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise bad_caption(f"cannot be read ({error.strerror})", self.record(index)) from error
        return as_caption(data, self.record(index))


def walk_images(root: Path) -> Iterator[str]:
    """Find the images below a folder. A folder reached twice, by symbolic links, is entered once, by its real path if it has one.

    Args:
        root: The folder.

    Yields:
        Paths relative to it, with forward slashes, in no particular order.

    Raises:
        TokbenchError: If a folder cannot be listed.
    """
    seen: set[tuple[int, int]] = set()
    folders, linked = [""], list[str]()
    while folders or linked:
        inside = folders.pop() if folders else heappop(linked)
        place = root / inside
        try:
            status = place.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(place) as scan:
                entries = [entry for entry in scan if not is_hidden(entry.name)]
        except OSError as error:
            raise cannot_list(place, error) from error
        for entry in entries:
            path = f"{inside}/{entry.name}" if inside else entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif entry.is_symlink() and os.path.isdir(entry.path):
                heappush(linked, path)
            elif is_image_name(entry.name) and (os.path.isfile(entry.path) or not os.path.exists(entry.path)):
                yield path  # a dangling link is an image that cannot be read; a pipe would block and is none


def is_hidden(path: str) -> bool:
    """Whether any part of a path with forward slashes is hidden: starts with a dot, or is what macOS adds to archives.

    Args:
        path: A relative path; the parts ``.`` and ``..`` are not hidden.

    Returns:
        True if it is to be left out.
    """
    return any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in path.split("/"))


def is_image_name(path: str) -> bool:
    """Whether a file is an image by its extension.

    Args:
        path: A path or a name.

    Returns:
        True if it ends in one of ``IMAGE_EXTENSIONS``, in any case.
    """
    stem, _, extension = path.rpartition(".")
    return bool(stem) and extension.lower() in IMAGE_EXTENSIONS


def caption_name(path: str) -> str:
    """Where the caption of an image lies.

    Args:
        path: Of an image file.

    Returns:
        The path with ``.txt`` in place of its extension.
    """
    return path.rpartition(".")[0] + ".txt"


def printable(path: str) -> str:
    """Make an id of a path: what is not UTF-8 in it is escaped, so that every id can be written to a record.

    Args:
        path: A path as the operating system or an archive gives it.

    Returns:
        The same text wherever it is valid Unicode.
    """
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def read_file(path: Path) -> bytes:
    """Read the bytes of an image file.

    Args:
        path: The file.

    Returns:
        Its bytes.

    Raises:
        UnreadableImage: If it cannot be read; the reason does not name the path.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImage.because(error) from error


def cannot_list(folder: Path, error: OSError) -> TokbenchError:
    """Build the error for a folder that cannot be listed, to be raised by the caller."""
    return TokbenchError(f"cannot list the folder {folder}: {error.strerror}; make it readable or give another one")


def no_images(given: str) -> TokbenchError:
    """Build the error for a folder or archive without images.

    Args:
        given: What was looked through.

    Returns:
        The error, to be raised by the caller.
    """
    extensions = ", ".join(IMAGE_EXTENSIONS)
    return TokbenchError(f"no images in {given}; images are files that end in {extensions} and are not hidden; check the path")
