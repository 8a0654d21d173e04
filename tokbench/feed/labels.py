"""Labels and captions of images: what a source offers of itself, or the folders its ids name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError

LabelRule = Literal["source", "folder", "none"]


@runtime_checkable
class Labelled(Protocol):
    """A source that knows the class of every image; one with an attribute ``label_names`` also names the classes."""

    def label(self, index: int) -> int | None:
        """Number of an image's class, from 0; None if it has none."""


@runtime_checkable
class Captioned(Protocol):
    """A source that has a text to every image."""

    def caption(self, index: int) -> str | None:
        """The text of an image; None if it has none."""


class Annotations:
    """Labels and captions of a source.

    Args:
        source: The images.
        rule: ``source`` takes the labels it offers, if any; ``folder`` the folder an id lies in, numbered in the order of the
            folders' names over the whole source, as torchvision's ``ImageFolder`` does; ``none`` leaves labels out.

    Raises:
        TokbenchError: If ``folder`` is asked for and an id lies in none.
    """

    def __init__(self, source: ImageSource, rule: LabelRule) -> None:
        """Number the folders."""
        self._source = source
        self._by_folder: dict[str, int] | None = None
        names: Sequence[str] = ()
        if rule == "folder":
            names = sorted({_folder(name) for name in source.ids})
            if "" in names:
                stray = next(name for name in source.ids if not _folder(name))
                raise TokbenchError(f"{stray} of {source.name} lies in no folder that could name its class; sort images into folders")
            self._by_folder = {name: number for number, name in enumerate(names)}
        elif rule == "source" and isinstance(source, Labelled):
            names = getattr(source, "label_names", None) or ()
        self.names = tuple(names)
        self.has_labels = rule == "folder" or (rule == "source" and isinstance(source, Labelled))
        self.has_captions = isinstance(source, Captioned)

    def label(self, index: int) -> int | None:
        """Class of one image; None if it has none."""
        if self._by_folder is not None:
            return self._by_folder[_folder(self._source.ids[index])]
        return self._source.label(index) if self.has_labels and isinstance(self._source, Labelled) else None

    def caption(self, index: int) -> str | None:
        """Text of one image; None if it has none."""
        return self._source.caption(index) if isinstance(self._source, Captioned) else None


def _folder(name: str) -> str:
    return name.rpartition("/")[0]
