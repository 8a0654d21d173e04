"""Bytes to tokens and back as the bench does it, in micro-batches of one fixed size, and who a tokenizer is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

from tokbench.bench.encode import decode, encode
from tokbench.bench.microbatch import padded
from tokbench.bench.protocol import Protocol
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
