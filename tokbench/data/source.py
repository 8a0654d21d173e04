"""The contract of an image source: ids and, one at a time, upright RGB pictures."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from PIL import Image

from tokbench.errors import TokbenchError
from tokbench.image_size import Size
from tokbench.names import first_repeated

READ_BEFORE = 3600.0
"""Seconds at most between the reading of an image and the writing of what came of it, as far as changed files are looked for."""


AHEAD = 60.0
"""Seconds that the clock of a file server may be ahead of this machine's."""


def touched_from(written: float, *, took: float = 0.0) -> float:
    """From which moment on a file counts as touched since what came of it was written.

    Args:
        written: When it was written, in seconds since 1970.
        took: Seconds that it took to make, as far as that is known.

    Returns:
        The moment, likewise; where that lies ahead, as a clock that was put back has it, all files count.
    """
    return written - took - READ_BEFORE if written <= time.time() + AHEAD else 0.0


class ImageSource(ABC):
    """A fixed sequence of images, which may have labels and captions.

    A source that knows the class of its images overrides ``label`` (and ``label_names``), one that has a text to them ``caption``.
    One that finds out when it is opened whether it has any also overrides ``has_labels`` and ``has_captions``. None of these decodes
    an image, and threads may call them at once.

    Attributes:
        name: As the user named it, without its path.
        ids: One stable, unique id an image, in the source's own order.
        ready_size: Size of the images it yields, if they need no further crop; None if they are whole pictures.
        metrics: What to measure on them beside what is always measured.
        passed_over: Images that lie there too, but are of kinds that are not read.
        own_order: Whether images are read in the order they have here, not in that of their ids: rows of a table are read in groups.
        can_draft: Whether ``open_draft`` may leave pixels out.
    """

    name: str
    ids: Sequence[str]
    ready_size: Size | None = None
    metrics: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    own_order: bool = False
    can_draft: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    @abstractmethod
    def read(self, index: int) -> Image.Image:
        """Decode one image.

        Args:
            index: 0 to ``len - 1``.

        Returns:
            An 8-bit RGB image.

        Raises:
            UnreadableImage: If the image is broken; the caller skips it, counts it and names it.
        """

    def open(self, index: int) -> tuple[Image.Image, bytes]:
        """Decode one image and digest what it is made from; sources that can do both with one reading override it.

        Returns:
            What ``read`` and ``raw_digest`` return.

        Raises:
            UnreadableImage: If the image is broken.
        """
        return self.read(index), self.raw_digest(index)

    def open_draft(self, index: int, shortest: int) -> tuple[Image.Image, bytes]:
        """As ``open``, for a protocol with ``jpeg_draft``: sources of stored files decode JPEGs at a fraction of their size.

        Args:
            index: 0 to ``len - 1``.
            shortest: Pixels that the shortest side keeps at least, where it has as many.

        Raises:
            UnreadableImage: If the image is broken.
        """
        return self.open(index)

    def group(self, index: int) -> str:
        """What an image is a sample of: confidence intervals are taken over groups. Its own id, unless the source cuts."""
        return self.ids[index]

    def subject(self, index: int) -> str | None:
        """A word for what an image shows, where the source knows one that is no label: templates of captions take it."""
        return None

    @abstractmethod
    def raw_digest(self, index: int) -> bytes:
        """SHA-256 of the bytes one image is made from (and of the crop, for a source that cuts)."""

    def changed_since(self, index: int, moment: float) -> bool:
        """Whether the file that an image lies in was touched after a moment; then its digest tells whether it is another image.

        Args:
            index: 0 to ``len - 1``.
            moment: In seconds since 1970.

        Returns:
            False where there is no such file.
        """
        return False

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders that may name classes, sorted: those that images lie in, and empty ones beside them where the source knows of any."""
        return tuple(sorted({name.rpartition("/")[0] for name in self.ids}))

    @property
    def has_labels(self) -> bool:
        """Whether images may have a label."""
        return type(self).label is not ImageSource.label

    @property
    def label_names(self) -> tuple[str, ...]:
        """What the classes are called, by number; empty if they have only numbers."""
        return ()

    def label(self, index: int) -> int | None:
        """Number of an image's class.

        Args:
            index: 0 to ``len - 1``.

        Returns:
            From 0; None if it has none.

        Raises:
            TokbenchError: If what is stored is no such number, naming the image.
        """
        return None

    @property
    def has_captions(self) -> bool:
        """Whether images may have a caption."""
        return type(self).caption is not ImageSource.caption

    def caption(self, index: int) -> str | None:
        """A text about an image.

        Args:
            index: 0 to ``len - 1``.

        Returns:
            The text; None if it has none.

        Raises:
            TokbenchError: If what is stored is no text, naming the image.
        """
        return None

    def record(self, index: int) -> str:
        """What to call an image in an error."""
        return f"{self.ids[index]} of {self.name}"


def check_source(source: ImageSource) -> None:
    """See that a source of the user's own says what its images are called; those of this package do.

    Raises:
        TokbenchError: If its name is no text, or its ids are not as many texts as there are images, all different and fit to be written.
    """
    cls = type(source)
    if cls.__module__.partition(".")[0] == "tokbench":
        return
    name: Any = getattr(source, "name", None)
    if not isinstance(name, str) or not name.strip():
        raise TokbenchError(f"the name of {cls.__name__} is {name!r}; give it a text, by which records and tables tell data apart")
    ids: Any = source.ids
    if not isinstance(ids, Sequence) or isinstance(ids, str) or len(ids) != len(source):
        raise TokbenchError(f"the ids of {cls.__name__} must be a sequence of one text an image, got a {type(ids).__name__}")
    for one in ids:
        if not isinstance(one, str) or one != one.encode("utf-8", "replace").decode():
            raise TokbenchError(f"{name} has an image of the id {one!r}; ids are texts of UTF-8")
    if (one := first_repeated(ids)) is not None:
        raise TokbenchError(f"{name} has two images with the id {one}; give every image its own name")
