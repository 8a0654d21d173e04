"""What a protocol lets metrics see of one micro-batch: bytes made by its rules, and what they were made of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from tokbench.bench.fitting import judged
from tokbench.bench.loader import key_of
from tokbench.bench.observation import Again, Listing, Observation
from tokbench.granted import granting
from tokbench.images import to_float, to_uint8
from tokbench.records.protocol import Pixels, Protocol
from tokbench.tokens import Tokens


@dataclass(frozen=True)
class Restored:
    """What a tokenizer or a codec made of one micro-batch, before any protocol judges it.

    Args:
        ids: Ids of the images.
        keys: SHA-256 of the pixels of each original.
        originals: As they were read.
        images: What a tokenizer gave, in [-1, 1] or beyond; of a codec the bytes that came back.
        tokens: What the originals became; None of a codec.
        reencode: Has bytes encoded again, as reconstructions of the images of some ids.
    """

    ids: tuple[str, ...]
    keys: tuple[bytes, ...]
    originals: UInt8[Tensor, "b 3 h w"]
    images: Float32[Tensor, "b 3 h w"] | UInt8[Tensor, "b 3 h w"]
    tokens: Tokens | None
    reencode: Callable[[Tensor, Sequence[str]], Again] = field(repr=False)


def observed(
    restored: Restored,
    protocol: Protocol,
    listing: Listing,
    *,
    places: Mapping[str, int] | None = None,
    shared: dict[str, Any] | None = None,
) -> Observation:
    """Make the bytes that metrics see.

    Args:
        restored: One micro-batch.
        protocol: Its ``uint8``, ``originals`` and ``judged_size``.
        listing: All images of the run.
        places: Where these stand in it, and maybe others; None looks them up among all.
        shared: What metrics under other protocols have computed of the same images; None where there is no other.
    """
    read, floats = restored.originals, restored.images if restored.images.is_floating_point() else None
    with granting() if restored.tokens is not None else nullcontext():  # what a tokenizer decoded was asked for before
        made = restored.images if floats is None else to_uint8(floats, rule=protocol.uint8)
    reencode = partial(restored.reencode, made, restored.ids)
    reference = _compared(read, protocol)
    if protocol.seen_at != protocol.shape:
        same, floats = reference is read, None
        read, made = _judged(read, protocol.seen_at), _judged(made, protocol.seen_at)
        reference = read if same else _judged(reference, protocol.seen_at)
    read_keys = restored.keys if read is restored.originals else _keys(read)
    return Observation(
        listing=listing,
        places=listing.places(restored.ids) if places is None else tuple(places[name] for name in restored.ids),
        keys=read_keys if reference is read else _keys(reference),
        reference=reference,
        reconstruction=made,
        tokens=restored.tokens,
        reencode=reencode,
        shared={} if shared is None else shared,
        restored=floats,
        read=None if reference is read else read,
        read_keys=() if reference is read else read_keys,
        bytes_are="" if shared is None else _digest(reference, made),
    )


def _digest(*images: Tensor) -> str:
    total = hashlib.blake2b(digest_size=16)
    for one in images:
        total.update(str(tuple(one.shape)).encode() + one.cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def seen_originals(images: UInt8[Tensor, "b 3 h w"], protocol: Protocol, pixels: Pixels) -> tuple[Tensor, tuple[bytes, ...]]:
    """Images as metrics would see them if they were originals, and the digests of their pixels.

    Args:
        images: As they were read and cut.
        protocol: Its ``originals`` and ``judged_size``.
        pixels: What the metric sees of reconstructions.
    """
    seen = images if pixels != "bytes" else _compared(images, protocol)
    if protocol.seen_at != protocol.shape:
        seen = _judged(seen, protocol.seen_at)
    return seen, _keys(seen)


def _compared(images: Tensor, protocol: Protocol) -> Tensor:
    """The originals that reconstructions are compared with, before both are scaled to the size they are judged at."""
    return images if protocol.originals == "as read" else to_uint8(to_float(images), rule="truncate")


def _judged(images: Tensor, shape: tuple[int, int]) -> Tensor:
    pixels = [judged(one.permute(1, 2, 0).contiguous().numpy(), shape) for one in images.cpu()]
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous().to(images.device)


def _keys(images: Tensor) -> tuple[bytes, ...]:
    return tuple(key_of(one.permute(1, 2, 0).contiguous().numpy()) for one in images.cpu())
