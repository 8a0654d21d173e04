"""Images in a folder, and what every source of stored image files shares."""

from __future__ import annotations

import hashlib
import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path

from PIL import Image

from tokbench.data.annotations import as_caption, bad_caption
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.image_files import read_regular
from tokbench.images import MAX_FILE_BYTES, UnreadableImage, load_rgb
from tokbench.names import first_repeated

IMAGE_EXTENSIONS = (
    *("jpg", "jpeg", "jpe", "jfif", "mpo", "png", "apng", "webp", "bmp", "dib", "tif", "tiff", "gif", "ico"),
    *("jp2", "j2k", "j2c", "jpc", "jpf", "jpx", "ppm", "pgm", "pbm", "pnm", "pfm", "tga", "icb", "vda", "vst", "avifs", "avif"),
)
"""Extensions of the files that count as images, in any case: all under which the formats of ``tokbench.images.FORMATS`` go."""

OTHER_IMAGE_EXTENSIONS = (
    *("heic", "heif", "hif", "jxl", "svg", "svgz", "psd", "psb", "exr", "hdr", "dds", "eps", "ps", "ai", "wmf", "emf", "xcf", "kra"),
    *("cr2", "cr3", "nef", "nrw", "arw", "dng", "orf", "rw2", "raf", "pef", "srw", "raw", "x3f", "3fr"),
    *("pcx", "sgi", "xbm", "xpm", "fits", "fts", "dcm", "qoi", "bpg", "flif", "jxr", "wdp", "hdp", "jls", "icns", "cur", "mng", "jng"),
)
"""Extensions of images that are not read: such files are passed over, counted and named."""


MAX_NOTE_BYTES = 4 << 20
"""Size of a text or JSON file beside an image."""


class StoredImages(ImageSource):
    """A source whose images are files, or members of one: pixels and digest follow from the stored bytes."""

    can_draft = True

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

    def release(self) -> None:  # most hold nothing
        """Let go of files and rows that reading has left open; the next reading opens them again."""

    def read(self, index: int) -> Image.Image:
        """Decode one image."""
        return load_rgb(self.read_bytes(index))

    def open(self, index: int) -> tuple[Image.Image, bytes]:
        """Decode one image and digest its bytes, which are read once."""
        data = self.read_bytes(index)
        return load_rgb(data), hashlib.sha256(data).digest()

    def open_draft(self, index: int, shortest: int) -> tuple[Image.Image, bytes]:
        """Decode one image, a JPEG at a fraction of its size, and digest its bytes, which are read once."""
        data = self.read_bytes(index)
        return load_rgb(data, shortest=shortest), hashlib.sha256(data).digest()

    def raw_digest(self, index: int) -> bytes:
        """SHA-256 of the stored bytes.

        Raises:
            UnreadableImage: If the bytes cannot be had.
        """
        return hashlib.sha256(self.read_bytes(index)).digest()


class FolderSource(StoredImages):
    """All images below a folder, by their path relative to it. Hidden files and folders are left out.

    The caption of ``a.png`` is the text of ``a.txt`` or ``a.caption`` beside it, in any case of letters, if there is one.

    Args:
        root: The folder.

    Raises:
        TokbenchError: If it is not a folder, cannot be listed or holds no images, or two of them have one id.
    """

    def __init__(self, root: Path) -> None:
        """List the folder."""
        if not root.is_dir():
            raise TokbenchError(f"{root} is not a folder; give a folder of images")
        self.name = Path(os.path.abspath(root)).name or "root"
        self._root = root
        self._tree = walk(root)
        found = sorted(self._tree.files)
        self._files = [file for file in found if is_image_name(file)]
        self.passed_over = tuple(
            sorted(printable(file) for file in (*found, *self._tree.special) if file in self._tree.special or is_other_image(file))
        )
        self._texts = texts_of(self._files, (file for file in found if is_text_name(file)))
        if not self._files:
            raise no_images(str(root), self.passed_over)
        self.ids = tuple(printable(file) for file in self._files)
        check_different(self.ids, self.name)

    def read_bytes(self, index: int) -> bytes:
        """The bytes of one file."""
        return read_file(self._root / self._files[index])

    def changed_since(self, index: int, moment: float) -> bool:
        """Whether the file was touched."""
        return touched_since(self._root / self._files[index], moment)

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders with images, and empty ones as deep in the tree as one of these."""
        used = {file.rpartition("/")[0] for file in self._tree.files if not is_text_name(file)}
        return with_empty(used, self._tree.empty)

    @property
    def has_captions(self) -> bool:
        """Whether any image has a text file of its name beside it."""
        return bool(self._texts)

    def caption(self, index: int) -> str | None:
        """Read the text file beside one image."""
        text = self._texts.get(self._files[index])
        if text is None or not os.path.lexists(self._root / text):
            return None
        try:
            data = read_regular(self._root / text, MAX_NOTE_BYTES)
        except UnreadableImage as error:
            raise bad_caption(f"cannot be read ({error})", self.record(index)) from error
        return as_caption(data, self.record(index))


@dataclass(frozen=True)
class Tree:
    """What lies below a folder.

    Args:
        files: Images of any kind and texts, by their path relative to it with forward slashes.
        special: Pipes, sockets and devices whose names are those of images.
        empty: Folders in which nothing lies but hidden files.
    """

    files: tuple[str, ...]
    special: tuple[str, ...]
    empty: tuple[str, ...]


def walk(root: Path) -> Tree:
    """Find what lies below a folder. A folder reached twice, by symbolic links, is entered once, by its real path if it has one.

    Args:
        root: The folder.

    Raises:
        TokbenchError: If a folder cannot be listed.
    """
    seen: set[tuple[int, int]] = set()
    files, special, empty = list[str](), list[str](), list[str]()
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
        if not entries and inside:
            empty.append(inside)
        for entry in entries:
            path = f"{inside}/{entry.name}" if inside else entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif entry.is_symlink() and os.path.isdir(entry.path):
                heappush(linked, path)
            elif os.path.isfile(entry.path) or not os.path.exists(entry.path):  # a dangling link is an image that cannot be read
                files += [path] if is_image_name(path) or is_other_image(path) or is_text_name(path) else []
            elif is_image_name(path):
                special.append(path)
    return Tree(tuple(files), tuple(special), tuple(empty))


def walk_images(root: Path) -> Iterator[str]:
    """Find the images below a folder, see ``walk``.

    Yields:
        Paths relative to it, with forward slashes, in no particular order.
    """
    return (file for file in walk(root).files if is_image_name(file))


def with_empty(used: Iterable[str], empty: Iterable[str]) -> tuple[str, ...]:
    """Folders that name classes: those in use, and empty ones that lie as deep as one of them.

    A class without images in one part of a data set keeps its number that way.
    """
    used = set(used)
    depths = {folder.count("/") for folder in used if folder}
    return tuple(sorted(printable(folder) for folder in used | {folder for folder in empty if folder.count("/") in depths}))


def texts_of(images: Sequence[str], texts: Iterable[str]) -> dict[str, str]:
    """Match texts with the images whose name they share.

    Args:
        images: Paths of images.
        texts: Paths of texts, see ``is_text_name``.

    Returns:
        Text by image; of several for one image, ``.txt`` before others.
    """
    by_stem: dict[str, str] = {}
    for text in sorted(texts, key=lambda text: (not text.endswith(".txt"), not text.lower().endswith(".txt"), text)):
        by_stem.setdefault(text.rpartition(".")[0], text)
    return {image: by_stem[stem] for image in images if (stem := image.rpartition(".")[0]) in by_stem}


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


def is_other_image(path: str) -> bool:
    """Whether a file is an image by its extension, of a kind that is not read.

    Args:
        path: A path or a name.

    Returns:
        True if it ends in one of ``OTHER_IMAGE_EXTENSIONS``, in any case.
    """
    stem, _, extension = path.rpartition(".")
    return bool(stem) and extension.lower() in OTHER_IMAGE_EXTENSIONS


def is_text_name(path: str) -> bool:
    """Whether a file holds a text by its extension, ``.txt`` or ``.caption`` in any case."""
    stem, _, extension = path.rpartition(".")
    return bool(stem) and extension.lower() in ("txt", "caption")


def printable(path: str) -> str:
    """Make an id of a path: what is not UTF-8 in it is escaped, so that every id can be written to a record.

    Args:
        path: A path as the operating system or an archive gives it.

    Returns:
        The same text wherever it is valid Unicode.
    """
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def touched_since(path: Path, moment: float) -> bool:
    """Whether a file, or a link to it, was written, moved or changed in another way after a moment, in seconds since 1970."""
    try:
        return any(max(status.st_mtime, status.st_ctime) > moment for status in (path.stat(), path.lstat()))
    except OSError:
        return True


def check_different(ids: Sequence[str], where: str) -> None:
    """Refuse ids that are the same, as those of two files may be once what is not UTF-8 is escaped.

    Raises:
        TokbenchError: If two are.
    """
    if (one := first_repeated(ids)) is not None:
        raise TokbenchError(f"two images of {where} have one id, {one}; rename one of them")


def read_file(path: Path) -> bytes:
    """Read the bytes of an image file.

    Args:
        path: The file.

    Returns:
        Its bytes.

    Raises:
        UnreadableImage: If it cannot be read; the reason does not name the path.
    """
    return read_regular(path, MAX_FILE_BYTES)


def cannot_list(folder: Path, error: OSError) -> TokbenchError:
    """Build the error for a folder that cannot be listed, to be raised by the caller."""
    return TokbenchError(f"cannot list the folder {folder}: {error.strerror}; make it readable or give another one")


def no_images(given: str, passed_over: Sequence[str] = ()) -> TokbenchError:
    """Build the error for a folder or archive without images.

    Args:
        given: What was looked through.
        passed_over: Images in it of kinds that are not read.

    Returns:
        The error, to be raised by the caller.
    """
    extensions = ", ".join(IMAGE_EXTENSIONS)
    if passed_over:
        found = f"{len(passed_over)} of kinds that are not read, the first {passed_over[0]}"
        return TokbenchError(f"no images in {given} that can be read, but {found}; convert them to one of {extensions}")
    return TokbenchError(f"no images in {given}; images are files that end in {extensions} and are not hidden; check the path")
