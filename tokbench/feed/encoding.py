"""Images to tokens as the bench does it: micro-batches of one fixed size, and an image's noise from its own seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import UInt8
from torch import Tensor

from tokbench.bench.loader import Batch
from tokbench.bench.microbatch import padded
from tokbench.bench.protocol import Protocol
from tokbench.bench.runner import image_seed
from tokbench.configs import plain
from tokbench.feed.job import TokenizerIdentity
from tokbench.images import to_float, to_uint8
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import Tokens


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


@contextmanager
def reproducible() -> Iterator[None]:
    """Keep cuDNN from choosing algorithms by their speed, or rounding to TF32, within."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield


def encode_batch(tokenizer: Tokenizer, batch: Batch, protocol: Protocol) -> Tokens:
    """Encode one micro-batch, padded to its full size.

    Args:
        tokenizer: On its device.
        batch: At most ``protocol.micro_batch`` images.
        protocol: Micro-batch, precision and seed.

    Returns:
        The tokens of the images alone, bit-equal to those a bench run under the protocol sees.
    """
    images = to_float(padded(batch.images, protocol.micro_batch).to(tokenizer.device))
    seeds = [image_seed(protocol.seed, name, "encode") for name in batch.ids]
    with _autocast(tokenizer, protocol):
        tokens = tokenizer.encode(images, seeds=seeds + [0] * (len(images) - len(seeds)))
    return tokens.first(len(batch.ids))


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
    seeds = [image_seed(protocol.seed, name, "decode") for name in ids]
    with _autocast(tokenizer, protocol):
        images = tokenizer.decode(tokens, seeds=seeds)
    return to_uint8(images.float()).cpu()


def _autocast(tokenizer: Tokenizer, protocol: Protocol) -> torch.autocast:
    return torch.autocast(tokenizer.device.type, torch.bfloat16, enabled=protocol.precision == "bf16")
