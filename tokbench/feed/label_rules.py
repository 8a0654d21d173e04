"""Labels and captions of images: what a source offers of itself, or the folders its ids name."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

from tokbench.data.columns import CAPTION_COLUMNS, LABEL_COLUMNS
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError

logger = logging.getLogger(__name__)

LabelRule = Literal["source", "folder", "none"]


def has_labels(source: ImageSource, rule: LabelRule) -> bool:
    """Whether a rule finds labels."""
    return rule == "folder" or (rule == "source" and source.has_labels)


class Annotations:
    """Labels and captions of a source.

    Args:
        source: The images.
        rule: ``source`` takes the labels it offers, if any, and ``none`` leaves labels out. ``folder`` takes the folder an id lies in.
            Folders are numbered in the order of their names over the whole source, empty ones included, as torchvision's ``ImageFolder``
            does.
        classes: Names of all classes by number, such as those of another part of the data; None numbers those of this source.

    Raises:
        TokbenchError: If ``folder`` is asked for and an id lies in none, the source finds its labels bad, or one of its classes is not
            among ``classes``.
    """

    def __init__(self, source: ImageSource, rule: LabelRule, classes: Sequence[str] | None = None) -> None:
        """Number the folders."""
        self._source = source
        self._renumbered: dict[int, int] = {}
        self._by_folder: dict[str, int] | None = None
        names: Sequence[str] = ()
        if rule == "folder":
            names = source.folders
            if "" in {_folder(name) for name in source.ids}:
                stray = next(name for name in source.ids if not _folder(name))
                raise TokbenchError(f"{stray} of {source.name} lies in no folder that could name its class; sort images into folders")
            self._by_folder = {name: number for number, name in enumerate(names)}
        self.has_labels = has_labels(source, rule)
        self.has_captions = source.has_captions
        if rule == "source" and self.has_labels:
            names = source.label_names
        if classes is not None and self.has_labels:
            self._renumbered = _renumbered(tuple(names), classes, source)
        self.names = tuple(names if classes is None else classes)
        unused = getattr(source, "unused_columns", ())
        if unused and rule != "none" and not (self.has_labels and self.has_captions):
            lacking = " and ".join(word for word, has in (("labels", self.has_labels), ("captions", self.has_captions)) if not has)
            logger.warning(
                "%s has no column of %s: these are named %s, or %s; its other columns: %s",
                *(source.name, lacking, ", ".join(LABEL_COLUMNS), ", ".join(CAPTION_COLUMNS), ", ".join(unused[:10])),
            )

    def label(self, index: int) -> int | None:
        """Class of one image; None if it has none."""
        if self._by_folder is not None:
            number: int | None = self._by_folder[_folder(self._source.ids[index])]
        else:
            number = self._source.label(index) if self.has_labels else None
        return number if number is None else self._renumbered.get(number, number)

    def caption(self, index: int) -> str | None:
        """Text of one image; None if it has none."""
        return self._source.caption(index) if self.has_captions else None


def _renumbered(own: Sequence[str], classes: Sequence[str], source: ImageSource) -> dict[int, int]:
    if len(set(classes)) < len(classes):
        raise TokbenchError("two of the classes given have one name; give every class once, in the order of their numbers")
    if not own:
        raise TokbenchError(f"the labels of {source.name} are numbers without names, which no list of classes can renumber; leave it out")
    numbers = {name: number for number, name in enumerate(classes)}
    unknown = [name for name in own if name not in numbers]
    if unknown:
        raise TokbenchError(
            f"{source.name} has {len(unknown)} classes that are not among the {len(classes)} given: {', '.join(unknown[:5])}; "
            "add them at the end of the list, or leave their images out"
        )
    return {number: numbers[name] for number, name in enumerate(own)}


def _folder(name: str) -> str:
    return name.rpartition("/")[0]
