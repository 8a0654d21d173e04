"""Bytes to tokens and back as the bench does it, in micro-batches of one fixed size, and who a tokenizer is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from functools import partial

import torch
from jaxtyping import UInt8
from torch import Tensor

from tokbench.bench.encode import decode, encode
from tokbench.bench.loader import Loaded, in_background, stacked
from tokbench.bench.microbatch import padded
from tokbench.bench.protocol import Protocol
from tokbench.bench.record import SkippedImage
from tokbench.configs import plain
from tokbench.feed.job import TokenizerIdentity
from tokbench.images import to_float, to_uint8
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import Tokens

Encoded = tuple[list[Loaded | SkippedImage], Tokens | None]
"""What was read for a micro-batch, and the tokens of the images that could be; None if there are none."""


def identify(tokenizer: Tokenizer) -> TokenizerIdentity:
    """Name a tokenizer, its configuration and the digest of its weights."""
    name = tokenizer.name or type(tokenizer).__name__
    state = _state_sha256(tokenizer) if tokenizer.weights_sha256 is None else None
    return TokenizerIdentity(name, plain(getattr(tokenizer, "config", {})), tokenizer.weights_sha256, state)


def _state_sha256(tokenizer: Tokenizer) -> str | None:
    state = tokenizer.state_dict()
    total = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        total.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest() if state else None


def encode_batch(tokenizer: Tokenizer, images: UInt8[Tensor, "b 3 h w"], ids: Sequence[str], protocol: Protocol) -> Tokens:
    """Encode one micro-batch, padded to its full size.

    Args:
        tokenizer: On its device.
        images: At most ``protocol.micro_batch``, on the CPU.
        ids: Of the images.
        protocol: Micro-batch, precision and seed.

    Returns:
        The tokens of the images alone, bit-equal to those a bench run under the protocol sees.
    """
    tokens = encode(tokenizer, to_float(padded(images, protocol.micro_batch).to(tokenizer.device)), ids, protocol)
    return tokens if len(ids) == len(tokens) else tokens.first(len(ids))


def read_and_encode(
    tokenizer: Tokenizer,
    read: Callable[[int], Loaded | SkippedImage],
    batches: Iterable[Sequence[int]],
    protocol: Protocol,
    *,
    ahead: int,
) -> Generator[Encoded, None, None]:
    """Read images and encode them, with all cores at work.

    On a CPU, if several threads may call the tokenizer, two of them read and encode a micro-batch of their own, each with half of torch's
    threads: they meet less often than all of torch's threads do in every operation on one micro-batch, and nobody takes a core from a
    network whose other threads then wait. Elsewhere two threads read ahead, and this one encodes.

    Args:
        tokenizer: On its device.
        read: Reads an image; called in other threads.
        batches: Which images each micro-batch has, ``protocol.micro_batch`` at most.
        protocol: Micro-batch, precision and seed.
        ahead: Images at most that wait, read, for this thread.

    Yields:
        The micro-batches, in order.
    """

    def load(batch: Sequence[int]) -> list[Loaded | SkippedImage]:
        return [read(index) for index in batch]

    def encoded(items: list[Loaded | SkippedImage]) -> Encoded:
        images = [item for item in items if isinstance(item, Loaded)]
        return items, encode_batch(tokenizer, stacked(images), [image.id for image in images], protocol) if images else None

    threads = torch.get_num_threads()
    if threads == 1 or tokenizer.device.type != "cpu" or not tokenizer.thread_safe:
        with closing(in_background(load, batches, ahead=max(1, ahead // protocol.micro_batch))) as loaded:
            yield from map(encoded, loaded)
        return
    try:
        yield from in_background(lambda batch: encoded(load(batch)), batches, ahead=2, start=partial(torch.set_num_threads, threads // 2))
    finally:
        torch.set_num_threads(threads)  # for threads to come; this one's own number never changed


def decode_batch(tokenizer: Tokenizer, tokens: Tokens, ids: Sequence[str], protocol: Protocol) -> UInt8[Tensor, "b 3 h w"]:
    """Decode tokens to bytes.

    Args:
        tokenizer: On its device.
        tokens: On the same.
        ids: Of the images.
        protocol: Precision and seed.

    Returns:
        Pixels on the CPU.
    """
    return to_uint8(decode(tokenizer, tokens, ids, protocol)).cpu()
