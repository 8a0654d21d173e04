"""Bytes to tokens and back as the bench does it, in micro-batches of one fixed size, and who a tokenizer is."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from functools import partial

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from tokbench import tokenizers
from tokbench.bench.encode import decode, encode
from tokbench.bench.identity import TILING, identity_of
from tokbench.bench.loader import Loaded, in_background, stacked
from tokbench.bench.microbatch import padded
from tokbench.configs import plain
from tokbench.feed.job import SCHEMA, TokenizerIdentity
from tokbench.images import to_float, to_uint8
from tokbench.readers import readers
from tokbench.records.protocol import Protocol
from tokbench.records.record import SkippedImage
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.library.model import LibraryTokenizer
from tokbench.tokens import Tokens

Encoded = tuple[list[Loaded | SkippedImage], Tokens | None]
"""What was read for a micro-batch, and the tokens of the images that could be; None if there are none."""


def identify(tokenizer: Tokenizer, *, schema: int = SCHEMA) -> TokenizerIdentity:
    """Take a tokenizer's identity as it is now.

    Whether it works in tiles is no part of it, but of how images were prepared: its tokens mean the same.

    Args:
        tokenizer: Any tokenizer.
        schema: Schema of the export to compare with; the first one knew no digest of weights beside that of their file.
    """
    if schema == 1:
        name = tokenizer.name or type(tokenizer).__name__
        state = _first_state_sha256(tokenizer) if tokenizer.weights_sha256 is None else None
        return TokenizerIdentity(name, plain(getattr(tokenizer, "config", {})), tokenizer.weights_sha256, state)
    found = identity_of(tokenizer)
    config = {key: value for key, value in found.config.items() if key != TILING}
    return TokenizerIdentity(found.name, config, found.weights_sha256, found.state_sha256, found.source_sha256)


def _first_state_sha256(tokenizer: Tokenizer) -> str | None:
    """The digest of weights in exports of the first schema."""
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
        ids: Ids of the images.
        protocol: Micro-batch, precision and seed.

    Returns:
        The tokens of the images alone, bit-equal to those a bench run under the protocol sees.
    """
    tokens = encode(tokenizer, to_float(padded(images, protocol.micro_batch).to(tokenizer.device)), ids, protocol)
    return tokens if len(ids) == len(tokens) else tokens[: len(ids)]


def read_and_encode(
    tokenizer: Tokenizer,
    read: Callable[[int], Loaded | SkippedImage],
    batches: Iterable[Sequence[int]],
    protocol: Protocol,
    *,
    ahead: int,
    workers: int | None = None,
    strict: bool = False,
) -> Generator[Encoded, None, None]:
    """Read images and encode them, with all cores at work.

    On a CPU two threads, if they may share the tokenizer (``shareable``), read and encode a micro-batch of their own. Each has half of
    torch's threads. They meet less often than all of torch's threads do in every operation on one micro-batch. And nobody takes a core
    from a network whose other threads then wait. This takes the memory of two micro-batches. Elsewhere other threads read ahead, and this
    one encodes.

    Args:
        tokenizer: On its device.
        read: Reads an image; called in other threads.
        batches: Which images each micro-batch has, ``protocol.micro_batch`` at most.
        protocol: Micro-batch, precision and seed.
        ahead: Images at most that wait, read, for this thread, where it encodes.
        workers: Threads that read for it; None takes as many as there are cores.
        strict: Encode nothing of a micro-batch of which an image cannot be read.

    Yields:
        The micro-batches, in order.
    """

    def load(batch: Sequence[int]) -> list[Loaded | SkippedImage]:
        return [read(index) for index in batch]

    def encoded(items: list[Loaded | SkippedImage]) -> Encoded:
        images = [item for item in items if isinstance(item, Loaded)]
        if not images or (strict and len(images) < len(items)):
            return items, None
        return items, encode_batch(tokenizer, stacked(images), [image.id for image in images], protocol)

    threads = torch.get_num_threads()
    if not _by_two(tokenizer, protocol, threads):
        with closing(in_background(load, batches, ahead=max(1, ahead // protocol.micro_batch), workers=readers(workers))) as loaded:
            yield from map(encoded, loaded)
        return
    stopped = threading.Event()

    def check(module: nn.Module, inputs: object) -> None:
        if stopped.is_set():
            raise InterruptedError("the export has ended")

    hooks = [module.register_forward_pre_hook(check) for module in tokenizer.modules()]  # a micro-batch may take half a minute
    try:
        start = partial(torch.set_num_threads, threads // 2)
        yield from in_background(lambda batch: encoded(load(batch)), batches, ahead=2, start=start, stop=stopped.set)
    finally:
        torch.set_num_threads(threads)  # for threads to come; this one's own number never changed
        for hook in hooks:
            hook.remove()


def _by_two(tokenizer: Tokenizer, protocol: Protocol, threads: int) -> bool:
    """Whether two micro-batches may be encoded at a time, and give what one at a time gives to the bit.

    For fewer than 16 images PyTorch computes 1x1 convolutions otherwise on one thread than on several (``use_mkldnn`` in
    aten/src/ATen/native/Convolution.cpp).
    """
    if threads < 2 or (threads < 4 and protocol.micro_batch < 16) or tokenizer.device.type != "cpu":
        return False
    return shareable(tokenizer)


def shareable(tokenizer: Tokenizer) -> bool:
    """Whether several threads may call a tokenizer at once: its own network keeps nothing, neither between calls nor during one.

    That is tried for every tokenizer of this package. Networks of other libraries, classes of others and hooks may keep what they see.
    """
    ours = type(tokenizer).__module__.startswith(f"{tokenizers.__name__}.") and not isinstance(tokenizer, LibraryTokenizer)
    return ours and not any(module._forward_hooks or module._forward_pre_hooks for module in tokenizer.modules())


def decode_batch(tokenizer: Tokenizer, tokens: Tokens, ids: Sequence[str], protocol: Protocol) -> UInt8[Tensor, "b 3 h w"]:
    """Decode tokens to bytes.

    Args:
        tokenizer: On its device.
        tokens: On the same.
        ids: Ids of the images.
        protocol: Precision and seed.

    Returns:
        Pixels on the CPU.
    """
    return to_uint8(decode(tokenizer, tokens, ids, protocol)).cpu()
