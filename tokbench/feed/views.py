"""Views of an image, a row of an export each: itself and its mirror image, or ten crops, as LlamaGen and RAR are trained on.

::

    flip       0 the image, 1 mirrored
    ten-crop   scaled to 1.1 times the size: 0 top left, 1 top right, 2 bottom left, 3 bottom right, 4 centre; 5 to 9 the same of its mirror image

Source: ``extract_codes_c2i.py`` of FoundationVision/LlamaGen and ``scripts/pretokenization.py`` of bytedance/1d-tokenizer. There images are
scaled by a filter of their own, here by that of the protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, overload

from PIL import Image
from torchvision.transforms import functional

from tokbench.bench.fitting import covers, fit
from tokbench.data.source import ImageSource
from tokbench.feed.job import VIEWS
from tokbench.image_size import as_size
from tokbench.records.protocol import Protocol

ViewRule = Literal["none", "flip", "ten-crop"]
"""Which views of an image are exported."""

CROP_RANGE = 1.1
"""Side of what ten crops are cut from, as a multiple of theirs."""

RECENT = 8
"""Images whose views are kept: they are asked for one after the other, by two threads."""


@dataclass(frozen=True)
class _Cut:
    """All views of one image, the digest of what it was made from, and whether that was smaller than was asked for."""

    views: tuple[Image.Image, ...]
    raw: bytes
    enlarged: bool


class Viewed(ImageSource):
    """The views of some images of a source, those of an image one after the other; labels and captions are those of the image.

    Args:
        source: The images.
        indices: Which of them, in order.
        rule: ``flip`` or ``ten-crop``.
        protocol: Size, filter and crop.
    """

    def __init__(self, source: ImageSource, indices: Sequence[int], rule: ViewRule, protocol: Protocol) -> None:
        self._source, self._indices, self._rule, self._protocol = source, indices, rule, protocol
        self._count = VIEWS[rule]
        self.name, self.ready_size = source.name, protocol.size
        self.ids = ViewIds(source.ids, indices, self._count)
        self.unused_columns = getattr(source, "unused_columns", ())
        self._recent = lru_cache(maxsize=RECENT)(self._cut)

    def read(self, index: int) -> Image.Image:
        """Decode one image, and cut a view of it."""
        return self.open(index)[0]

    def open(self, index: int) -> tuple[Image.Image, bytes]:
        """One view, and the digest of what its image was made from."""
        place, view = divmod(index, self._count)
        cut = self._recent(self._indices[place])
        return cut.views[view], cut.raw

    def enlarged(self, index: int) -> bool:
        """Whether a view is the first of an image that was smaller than what its views are cut from."""
        place, view = divmod(index, self._count)
        return view == 0 and self._recent(self._indices[place]).enlarged

    def changed_since(self, index: int, moment: float) -> bool:
        """Whether the file of its image was touched."""
        return self._source.changed_since(self._image(index), moment)

    def raw_digest(self, index: int) -> bytes:
        """Digest of what the image was made from."""
        return self._source.raw_digest(self._image(index))

    def group(self, index: int) -> str:
        """What the image is a sample of."""
        return self._source.group(self._image(index))

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
        """Class of the image."""
        return self._source.label(self._image(index))

    @property
    def has_captions(self) -> bool:
        """Whether the source has captions."""
        return self._source.has_captions

    def caption(self, index: int) -> str | None:
        """Text of the image."""
        return self._source.caption(self._image(index))

    def record(self, index: int) -> str:
        """What to call the image in an error."""
        return self._source.record(self._image(index))

    def _image(self, index: int) -> int:
        return self._indices[index // self._count]

    def _cut(self, index: int) -> _Cut:
        shape, ten = self._protocol.shape, self._rule == "ten-crop"
        protocol = replace(self._protocol, size=as_size(*(int(side * CROP_RANGE) for side in shape))) if ten else self._protocol
        image, raw = self._source.open(index)
        picture = Image.fromarray(fit(image, protocol))
        views = functional.ten_crop(picture, shape) if ten else (picture, functional.hflip(picture))
        return _Cut(tuple(views), raw, not covers(image, protocol))


class ViewIds(Sequence[str]):
    """Ids of views, ``IMAGE#NUMBER``, made when they are asked for: there may be ten times as many as images.

    Every id ends in exactly one such number, so two views never share one, whatever the images are called.
    """

    def __init__(self, ids: Sequence[str], indices: Sequence[int], count: int) -> None:
        self._ids, self._indices, self._count = ids, indices, count

    def __len__(self) -> int:
        return len(self._indices) * self._count

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...

    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        if isinstance(place, slice):
            return tuple(self[number] for number in range(*place.indices(len(self))))
        image, view = divmod(range(len(self))[place], self._count)
        return f"{self._ids[self._indices[image]]}#{view}"
