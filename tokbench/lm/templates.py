"""Captions of images of which a word alone is known: sentences with the name of their class in them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from PIL import Image

from tokbench.data.open import PHOTO_SPECS
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed.label_rules import Annotations, LabelRule
from tokbench.lm.mixture import words_of

PLACE = "{class}"
"""Where the name of the class goes."""

PHOTO_TEMPLATES = (f"a photo of {PLACE}", f"a picture of {PLACE}", f"{PLACE}, a photo")
"""Captions of the embedded photos unless others are given; their group is what takes the place of a class."""


class Captioned(ImageSource):
    """Images with captions made of templates, in place of any they have. An image has the same one at any time.

    Args:
        source: The images.
        templates: Wordings, of which every image takes one by its id.
        rule: Where classes come from, as labels of an export do.

    Attributes:
        templates: The wordings.

    Raises:
        TokbenchError: If a template has no place for the name of a class, or no class is known.
    """

    def __init__(self, source: ImageSource, templates: Sequence[str], rule: LabelRule = "source") -> None:
        for template in templates:
            _check(template)
        self._source, self.templates = source, tuple(templates)
        self._annotations = Annotations(source, rule)
        self._subjects = rule == "source" and not self._annotations.has_labels
        if not self._annotations.has_labels and not (self._subjects and source.ids and source.subject(0)):
            raise TokbenchError(
                f"{source.name} has no classes whose names could stand in captions; leave --captions out, or sort its images into folders "
                "and give --labels folder"
            )
        self.name, self.ids, self.ready_size = source.name, source.ids, source.ready_size
        self.metrics, self.passed_over = source.metrics, source.passed_over

    def caption(self, index: int) -> str | None:
        """One of the templates with the name of the image's class; None if it has none."""
        name = self._class(index)
        if not name:
            return None
        chance = int.from_bytes(hashlib.sha256(f"caption {self.ids[index]}".encode()).digest()[:8], "big")
        return self.templates[chance % len(self.templates)].replace(PLACE, name.replace("_", " "))

    def _class(self, index: int) -> str:
        if self._subjects:
            return self._source.subject(index) or ""
        label = self._annotations.label(index)
        return "" if label is None else words_of({"label": label}, self._annotations.names)

    def read(self, index: int) -> Image.Image:
        """Decode one image."""
        return self._source.read(index)

    def open(self, index: int) -> tuple[Image.Image, bytes]:
        """Decode one image and digest what it is made from."""
        return self._source.open(index)

    def raw_digest(self, index: int) -> bytes:
        """Digest of what one image is made from."""
        return self._source.raw_digest(index)

    def group(self, index: int) -> str:
        """What an image is a sample of."""
        return self._source.group(index)

    def subject(self, index: int) -> str | None:
        """A word for what an image shows."""
        return self._source.subject(index)

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders of the source."""
        return self._source.folders

    @property
    def has_labels(self) -> bool:
        """Whether the source has labels."""
        return self._source.has_labels

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the source's classes."""
        return self._source.label_names

    def label(self, index: int) -> int | None:
        """Class of an image."""
        return self._source.label(index)

    def record(self, index: int) -> str:
        """What to call an image in an error."""
        return self._source.record(index)


def captioned(place: str, source: ImageSource, templates: Sequence[str], rule: LabelRule) -> ImageSource:
    """Give images captions by templates, where some are given or the images are the embedded photos.

    Args:
        place: What a user named.
        source: What was opened there.
        templates: Wordings; none leaves captions as they are, but those of the embedded photos are ``PHOTO_TEMPLATES``.
        rule: Where classes come from; without labels the photos have no captions either.

    Returns:
        The images.

    Raises:
        TokbenchError: As ``Captioned``.
    """
    if templates:
        return Captioned(source, templates, rule)
    if place in PHOTO_SPECS and rule == "source":
        return Captioned(source, PHOTO_TEMPLATES, rule)
    return source


def words_in(source: ImageSource, rule: LabelRule) -> Callable[[int], str]:
    """Say what is known of each image in words, as a model that learns from its export is told: its caption, or else its class.

    Args:
        source: The images.
        rule: Where classes come from.

    Returns:
        Takes the index of an image; what it gives is empty where nothing is known.

    Raises:
        TokbenchError: If there are no such classes.
    """
    annotations = Annotations(source, rule)

    def words(index: int) -> str:
        label = annotations.label(index)
        return words_of({"caption": annotations.caption(index), "label": -1 if label is None else label}, annotations.names)

    return words


def _check(template: str) -> None:
    rest = template.replace(PLACE, "")
    if rest == template or "{" in rest or "}" in rest:
        raise TokbenchError(
            f'--captions has {PLACE} where the name of a class goes, and no other braces, as "a photo of {PLACE}"; got {template!r}'
        )
    try:
        template.encode()
    except UnicodeEncodeError as error:
        raise TokbenchError(f"--captions {template!r} is no valid Unicode; write it again") from error
