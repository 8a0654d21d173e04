"""Reconstructions that other code made, in the place of a tokenizer: read from a folder or file, and held against their originals.

ORIGINALS -> images, ids --> their names --> RECONSTRUCTIONS -> images      both as they lie there, none scaled or cut
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from tokbench.bench.loader import choose, in_background
from tokbench.bench.pairing import paired
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.escapes import visible
from tokbench.image_size import Size, as_size
from tokbench.images import UnreadableImage
from tokbench.readers import readers
from tokbench.records.protocol import Protocol
from tokbench.records.record import GIVEN, TokenizerInfo
from tokbench.weights.training import UNKNOWN

AHEAD = 64
"""Images that are read before they are asked for."""

LONGEST = 60
"""Characters of a name."""


@dataclass(frozen=True)
class GivenImages:
    """Reconstructions by the ids of their originals.

    Args:
        name: As records call what made them.
        source: Where they are.
        places: The place of its reconstruction for the id of every original.
        sha256: Digest of the ids of originals, and of what reconstructions are made from.
        device: Where the networks that judge run.
    """

    name: str
    source: ImageSource
    places: Mapping[str, int]
    sha256: str
    device: str = "cpu"

    def images(self, ids: Sequence[str]) -> UInt8[Tensor, "b 3 h w"]:
        """The reconstructions of some originals.

        Raises:
            TokbenchError: If one can no longer be read.
        """
        found = []
        for name in ids:
            try:
                found.append(np.asarray(self.source.read(self.places[name])))
            except UnreadableImage as error:
                raise TokbenchError(f"{self.source.record(self.places[name])} cannot be read any more ({error}); run it again") from error
        return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).contiguous()

    def info(self) -> TokenizerInfo:
        """What a record says of what made them: nothing but the images is known."""
        config = {GIVEN: {"name": self.source.name, "sha256": self.sha256}}
        return TokenizerInfo(self.name, config, None, None, trained_with=(UNKNOWN,))


def size_of(source: ImageSource) -> Size:
    """Size of the first image that can be read.

    Raises:
        TokbenchError: If none can be.
    """
    for index in range(len(source)):
        try:
            width, height = source.read(index).size
        except UnreadableImage:
            continue
        return as_size(height, width)
    raise TokbenchError(f"none of the images of {source.name} can be read; give a folder, zip or .npz of images")


def pair_images(
    originals: ImageSource, reconstructions: ImageSource, protocol: Protocol, *, name: str, crop: bool = False, device: str = "cpu"
) -> GivenImages:
    """Hold two sets against each other before anything is measured.

    Args:
        originals: What reconstructions are compared with.
        reconstructions: Images of the same names.
        protocol: Size of the images, and which of them are chosen.
        name: What to call what made them, at most ``LONGEST`` printable characters.
        crop: Whether originals are cut as the protocol does; else they must have the size of reconstructions.
        device: Where the networks that judge run.

    Raises:
        TokbenchError: If the name cannot be one, an image has no partner, or two of a name, or another size than its partner.
    """
    _check_name(name)
    places = paired(originals.ids, reconstructions.ids, of=(originals.name, reconstructions.name))
    chosen = choose(originals, protocol)
    partners = [places[originals.ids[index]] for index in chosen]
    digest = hashlib.sha256()
    for (index, place), seen in zip(
        zip(chosen, partners, strict=True),
        in_background(partial(_look, originals, reconstructions, crop), zip(chosen, partners, strict=True), ahead=AHEAD, workers=readers()),
        strict=True,
    ):
        before, after, made_from = seen
        _check_sizes(originals, index, before, reconstructions, place, after, protocol)
        digest.update(originals.ids[index].encode(errors="surrogateescape") + b"\0" + made_from)
    return GivenImages(name, reconstructions, places, digest.hexdigest(), device)


def unpaired_images(reconstructions: ImageSource, protocol: Protocol, *, name: str, device: str = "cpu") -> GivenImages:
    """Take a set by itself, each image in the place of its own original, for distances that look at no originals.

    Args:
        reconstructions: Images.
        protocol: Size of the images, and which of them are chosen.
        name: What to call what made them.
        device: Where the networks that judge run.

    Raises:
        TokbenchError: As ``pair_images``.
    """
    return pair_images(reconstructions, reconstructions, protocol, name=name, crop=True, device=device)


Seen = tuple[int, int] | None


def _look(originals: ImageSource, reconstructions: ImageSource, crop: bool, pair: tuple[int, int]) -> tuple[Seen, Seen, bytes]:
    """Sizes of an original and its reconstruction, and digest of the latter; None of an original that does not matter."""
    before: Seen = None
    if not crop:
        try:
            before = originals.read(pair[0]).size
        except UnreadableImage:  # it is skipped and named like those of any run
            before = None
    try:
        image, made_from = reconstructions.open(pair[1])
    except UnreadableImage as error:
        raise TokbenchError(f"{visible(reconstructions.record(pair[1]))} cannot be read ({error}); make it anew") from error
    return before, image.size, made_from


def _check_sizes(
    originals: ImageSource, index: int, before: Seen, reconstructions: ImageSource, place: int, after: Seen, protocol: Protocol
) -> None:
    assert after is not None  # or it could not be read
    who = visible(reconstructions.record(place))
    if before is not None and before != after:
        other = f"{visible(originals.record(index))} {before[1]}x{before[0]}"
        raise TokbenchError(f"{who} is {after[1]}x{after[0]} px, {other}; make them alike, or cut originals by --crop")
    if after != protocol.shape[::-1]:
        wanted = "x".join(map(str, protocol.shape))
        raise TokbenchError(f"{who} is {after[1]}x{after[0]} px, {wanted} are measured; give images of one size, which --size can name")


def _check_name(name: str) -> None:
    if not (name.strip() and name.isprintable() and len(name) <= LONGEST):
        raise TokbenchError(f"--name takes 1 to {LONGEST} printable characters, got {visible(name)[:80]!r}")
