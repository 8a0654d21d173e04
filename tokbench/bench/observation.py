"""What a metric sees of one micro-batch: originals, reconstructions and tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from torch import Tensor

from tokbench.images import to_float
from tokbench.layout import TokenLayout
from tokbench.names import Names
from tokbench.records.protocol import Pixels
from tokbench.tokens import Tokens


@dataclass(frozen=True)
class Listing:
    """The images of a run in order. What metrics keep of an image is its place here: a number, which tensors can hold.

    Args:
        ids: One per image, all different.
        groups: What each image is a sample of.
    """

    ids: Sequence[str]
    groups: Sequence[str]

    def __hash__(self) -> int:
        """Of their number and the first alone: there may be millions."""
        return hash((len(self.ids), *self.ids[:1]))

    @cached_property
    def names(self) -> Names:
        """The ids in one piece."""
        return Names.of(self.ids)

    @cached_property
    def numbers(self) -> np.ndarray:
        """Number of the group of each image, from 0 in the order of their names; int32 ``[n]``."""
        return (self.names if self.groups is self.ids else Names.of(self.groups)).ranks

    def places(self, ids: Iterable[str]) -> tuple[int, ...]:
        """Where images stand."""
        return tuple(self.names.places[name] for name in ids)


@dataclass(frozen=True)
class Again:
    """Tokens of a reconstruction that was given to the tokenizer again, which may not be done with it.

    Args:
        likely: They, as long as nothing is wrong; nobody waited for them. They may be written over once the tokenizer is given more.
        sure: Waits, and gives what they are: ``likely`` itself, or others where what was taken for granted does not hold.
    """

    likely: Tokens | None
    sure: Callable[[], Tokens] = field(repr=False)


@dataclass(frozen=True)
class Observation:
    """One micro-batch, without its padding.

    Args:
        listing: All images of the run.
        places: Which of them these are.
        keys: SHA-256 of each reference image's pixels.
        reference: The originals.
        reconstruction: What came back, as bytes.
        tokens: What the tokenizer made of the originals; None for a codec that has none.
        reencode: Gives the reconstruction to the tokenizer again; called at most once, and only if a metric asks.
        shared: What a metric has computed of it that others need too, by what it depends on; protocols that are measured together have
            one.
        restored: What the tokenizer gave, in [-1, 1] or beyond; None of a codec, whose images are bytes.
        read: The originals as they were read, where ``reference`` is not.
        read_keys: SHA-256 of the pixels of each of these; empty where they are ``reference``.
        bytes_are: Digest of both kinds of bytes, where others share what is computed of them; else empty.
    """

    listing: Listing
    places: tuple[int, ...]
    keys: tuple[bytes, ...]
    reference: UInt8[Tensor, "b 3 h w"]
    reconstruction: UInt8[Tensor, "b 3 h w"]
    tokens: Tokens | None
    reencode: Callable[[], Again] = field(repr=False)
    shared: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    restored: Float32[Tensor, "b 3 h w"] | None = field(default=None, repr=False)
    read: UInt8[Tensor, "b 3 h w"] | None = field(default=None, repr=False)
    read_keys: tuple[bytes, ...] = ()
    bytes_are: str = ""

    def __len__(self) -> int:
        return len(self.places)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """One per image."""
        return tuple(self.listing.ids[place] for place in self.places)

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """What each image is a sample of."""
        return tuple(self.listing.groups[place] for place in self.places)

    @property
    def keys_read(self) -> tuple[bytes, ...]:
        """SHA-256 of the pixels of each original as it was read."""
        return self.read_keys or self.keys

    @cached_property
    def again(self) -> Again:
        """The tokens of the re-encoded reconstruction, which nobody has waited for."""
        return self.reencode()

    @cached_property
    def tokens_again(self) -> Tokens:
        """The tokens of the re-encoded reconstruction; waits for them."""
        return self.again.sure()

    @cached_property
    def reference_float(self) -> Float32[Tensor, "b 3 h w"]:
        """The originals in [-1, 1]."""
        return to_float(self.reference)

    @cached_property
    def reconstruction_float(self) -> Float32[Tensor, "b 3 h w"]:
        """The reconstructions in [-1, 1]."""
        return to_float(self.reconstruction)

    def pair(self, pixels: Pixels) -> tuple[Float32[Tensor, "b 3 h w"], Float32[Tensor, "b 3 h w"]]:
        """Originals and reconstructions in [-1, 1], as a protocol lets a metric see them.

        Args:
            pixels: ``bytes``, or what the tokenizer gave: then originals are those that were read.
        """
        if pixels == "bytes":
            return self.reference_float, self.reconstruction_float
        before = self.reference_float if self.read is None else to_float(self.read)
        if self.restored is None:
            return before, self.reconstruction_float
        return before, self.restored.clamp(-1, 1) if pixels == "floats" else self.restored

    def seen(self, pixels: Pixels) -> str:
        """What tells apart, in ``shared``, what protocols that are measured together let a metric see."""
        return self.bytes_are if pixels == "bytes" or self.restored is None else pixels

    def levels(self, pixels: Pixels) -> tuple[Tensor, Tensor]:
        """The same from 0 to 255: bytes as they are, or floats."""
        if pixels == "bytes":
            return self.reference, self.reconstruction
        return self.reference if self.read is None else self.read, self.pair(pixels)[1].add(1.0).mul_(127.5)


@dataclass(frozen=True)
class Subject:
    """What is known of the tokenizer under test and the data before the first image.

    Args:
        layout: Its token layout at this size; None for a codec, or images alone, without tokens.
        images: How many images there are.
        image_size: Height and width in pixels.
    """

    layout: TokenLayout | None
    images: int
    image_size: tuple[int, int]
