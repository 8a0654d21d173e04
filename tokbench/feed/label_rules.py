"""Labels and captions of images: what a source offers of itself, or the folders its ids name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError

LabelRule = Literal["source", "folder", "none"]


class Annotations:
    """Labels and captions of a source.

    Args:
        source: The images.
        rule: ``source`` takes the labels it offers, if any; ``folder`` the folder an id lies in, numbered in the order of the
            folders' names over the whole source, as torchvision's ``ImageFolder`` does; ``none`` leaves labels out.

    Raises:
        TokbenchError: If ``folder`` is asked for and an id lies in none, or the source finds its labels bad.
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
        self.has_labels = rule == "folder" or (rule == "source" and source.has_labels)
        self.has_captions = source.has_captions
        if rule == "source" and self.has_labels:
            names = source.label_names
        self.names = tuple(names)

    def label(self, index: int) -> int | None:
        """Class of one image; None if it has none."""
        if self._by_folder is not None:
            return self._by_folder[_folder(self._source.ids[index])]
        return self._source.label(index) if self.has_labels else None

    def caption(self, index: int) -> str | None:
        """Text of one image; None if it has none."""
        return self._source.caption(index) if self.has_captions else None


def _folder(name: str) -> str:
    return name.rpartition("/")[0]
