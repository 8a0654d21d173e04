"""What is trained on and what is held out: parts of image sources, and images beside their mirror images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageOps

from tokbench.counting import counted
from tokbench.data.open import PHOTO_SPECS, open_source
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.image_size import Size
from tokbench.images import UnreadableImage

Progress = Callable[[int, int], None]
"""Takes images done and in all."""

MIRRORED = "~mirrored"
"""What the id of a mirror image ends in."""


@dataclass(frozen=True)
class Parts:
    """Two sets of images without a group in common.

    Args:
        train: To train on.
        held_out: To measure on.
    """

    train: ImageSource
    held_out: ImageSource


def open_parts(
    data: str,
    *,
    size: Size,
    share: float,
    seed: int,
    held_out_data: str | None = None,
    progress: Progress = lambda done, total: None,
) -> Parts:
    """Open images to train on and images to measure on.

    Args:
        data: As for ``open_source``; ``photos`` trains on their training photos and holds out their test photos.
        size: Side in pixels at which they will be used, or height and width.
        share: Share of the groups of other data that is held out.
        seed: Seed of the choice of groups.
        held_out_data: Where the images held out are, if not in ``data``.
        progress: Called as ``split`` does.

    Raises:
        TokbenchError: If there is no such thing, or the share leaves one part without images.
    """
    if held_out_data is not None:
        return Parts(open_source("photos/train" if data == "photos" else data, size=size), open_source(held_out_data, size=size))
    if data == "photos":
        return Parts(open_source("photos/train", size=size), open_source("photos/test", size=size))
    if data in PHOTO_SPECS:
        raise TokbenchError(f"--data {data} names one part of the photos; --data photos trains on one and holds out the other")
    return split(open_source(data, size=size), share=share, seed=seed, progress=progress)


def split(source: ImageSource, *, share: float, seed: int, progress: Progress = lambda done, total: None) -> Parts:
    """Hold out a share of the groups, chosen by a hash of their names: images added later move no others, unless they repeat them.

    Groups that have an image in common are one group, so that no image is on both sides.

    Args:
        source: Images; the bytes of all of them are read.
        share: Share of the groups, 0 to 1.
        seed: Seed of the hash.
        progress: Called with images read and in all.

    Raises:
        TokbenchError: If one part would be empty.
    """
    groups = _groups(source, progress)
    out = [_fraction(group, seed) < share for group in groups]
    if all(out) or not any(out):
        raise TokbenchError(
            f"holding out {share:g} of the {counted(len(source), 'image')} of {source.name} leaves none to {'train on' if all(out) else 'measure on'}; "
            "choose another --held-out or --seed, or name images with --held-out-data"
        )
    train, held_out = ([index for index, is_out in enumerate(out) if is_out == part] for part in (False, True))
    return Parts(Part(source, train, f"{source.name} (train)", groups), Part(source, held_out, f"{source.name} (held out)", groups))


def _groups(source: ImageSource, progress: Progress) -> list[str]:
    """Group of every image, as ``merged`` has it. Images that cannot be read repeat none."""
    digests: list[bytes | None] = []
    for index in range(len(source)):
        try:
            digests.append(source.raw_digest(index))
        except UnreadableImage:
            digests.append(None)
        progress(index + 1, len(source))
    return merged([source.group(index) for index in range(len(source))], digests)


def merged(names: Sequence[str], digests: Sequence[bytes | None]) -> list[str]:
    """Make groups with an image in common one.

    Args:
        names: Group of every image.
        digests: Digest of every image; None of one that is like no other.

    Returns:
        The group of every image; of groups that were made one, the first name.
    """
    parent = {name: name for name in names}
    first: dict[bytes, str] = {}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    for name, digest in zip(names, digests, strict=True):
        if digest is None:
            continue
        one, other = sorted((root(name), root(first.setdefault(digest, name))))
        parent[other] = one
    return [root(name) for name in names]


def _fraction(name: str, seed: int) -> float:
    return int.from_bytes(hashlib.sha256(f"{seed}\0held out\0{name}".encode()).digest()[:8], "big") / 2**64


class Part(ImageSource):
    """Some images of a source, with all that is known of them.

    Args:
        source: Source of the images.
        indices: Indices of these images in the source.
        name: What to call them.
        groups: Groups of all images of the source; None takes its own.
    """

    def __init__(self, source: ImageSource, indices: Sequence[int], name: str, groups: Sequence[str] | None = None) -> None:
        self.source, self.indices, self.name = source, tuple(indices), name
        self.ready_size = source.ready_size
        self.ids = tuple(source.ids[index] for index in self.indices)
        self._groups = groups

    def read(self, index: int) -> Image.Image:
        """Decode one image."""
        return self.source.read(self.indices[index])

    def open(self, index: int) -> tuple[Image.Image, bytes]:
        """Decode and digest one image."""
        return self.source.open(self.indices[index])

    def group(self, index: int) -> str:
        """What it is a sample of."""
        return self.source.group(self.indices[index]) if self._groups is None else self._groups[self.indices[index]]

    def raw_digest(self, index: int) -> bytes:
        """Its digest in the source."""
        return self.source.raw_digest(self.indices[index])

    @property
    def has_labels(self) -> bool:
        """Whether the source has any."""
        return self.source.has_labels

    @property
    def label_names(self) -> tuple[str, ...]:
        """Those of the source."""
        return self.source.label_names

    def label(self, index: int) -> int | None:
        """Its label in the source."""
        return self.source.label(self.indices[index])

    @property
    def has_captions(self) -> bool:
        """Whether the source has any."""
        return self.source.has_captions

    def caption(self, index: int) -> str | None:
        """Its caption in the source."""
        return self.source.caption(self.indices[index])


class WithMirrorImages(Part):
    """Every image of a source and its mirror image, left for right.

    Args:
        source: Source of the images.
    """

    def __init__(self, source: ImageSource) -> None:
        count = len(source)
        super().__init__(source, [*range(count), *range(count)], f"{source.name} and mirror images")
        self.ids = (*source.ids, *(f"{name}{MIRRORED}" for name in source.ids))

    def read(self, index: int) -> Image.Image:
        """Decode one image, and turn it if it is a mirror image."""
        image = super().read(index)
        return ImageOps.mirror(image) if self._turned(index) else image

    def open(self, index: int) -> tuple[Image.Image, bytes]:
        """Decode, turn and digest one image."""
        image, digest = super().open(index)
        return (ImageOps.mirror(image), _turned_digest(digest)) if self._turned(index) else (image, digest)

    def raw_digest(self, index: int) -> bytes:
        """Its digest in the source; of mirror images a digest of that."""
        digest = super().raw_digest(index)
        return _turned_digest(digest) if self._turned(index) else digest

    def _turned(self, index: int) -> bool:
        return index % len(self.ids) >= len(self.source)


def _turned_digest(digest: bytes) -> bytes:
    return hashlib.sha256(digest + MIRRORED.encode()).digest()
