"""The contract of an image source: ids and, one at a time, upright RGB pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod

from PIL import Image


class ImageSource(ABC):
    """A fixed sequence of images.

    Attributes:
        name: As the user named it, without its path.
        ids: One stable, unique id an image, in the source's own order.
        ready_size: Side of the square images it yields, if they need no further crop; None if they are whole pictures.
    """

    name: str
    ids: tuple[str, ...]
    ready_size: int | None = None

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

    def group(self, index: int) -> str:
        """What an image is a sample of: confidence intervals are taken over groups. Its own id, unless the source cuts."""
        return self.ids[index]

    @abstractmethod
    def raw_digest(self, index: int) -> bytes:
        """SHA-256 of the bytes one image is made from (and of the crop, for a source that cuts)."""
