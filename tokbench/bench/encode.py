"""Images to tokens and back under a protocol: its precision, every image's noise from its own seed, and no algorithm chosen by speed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tokbench.bench.protocol import Protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import Tokens


def image_seed(run_seed: int, image_id: str, purpose: Literal["encode", "decode"]) -> int:
    """Seed of one image's noise: a stable hash of the run's seed, the image's id and ``encode`` or ``decode``."""
    digest = hashlib.sha256(f"{run_seed}\0{image_id}\0{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextmanager
def reproducible() -> Iterator[None]:
    """Keep cuDNN from choosing algorithms by their speed, or rounding to TF32, within."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield


def encode(tokenizer: Tokenizer, images: Float[Tensor, "b 3 h w"], ids: Sequence[str], protocol: Protocol) -> Tokens:
    """Encode a micro-batch.

    Args:
        tokenizer: On its device.
        images: RGB in [-1, 1], on the same; those beyond ``ids`` are padding.
        ids: Of the images.
        protocol: Precision and seed.

    Returns:
        The tokens, padding included.
    """
    with _autocast(tokenizer, protocol):
        return tokenizer.encode(images, seeds=_seeds(ids, "encode", len(images), protocol))


def decode(tokenizer: Tokenizer, tokens: Tokens, ids: Sequence[str], protocol: Protocol) -> Float[Tensor, "b 3 h w"]:
    """Decode a micro-batch.

    Args:
        tokenizer: On its device.
        tokens: On the same; those beyond ``ids`` are padding.
        ids: Of the images.
        protocol: Precision and seed.

    Returns:
        RGB as float32, padding included.
    """
    with _autocast(tokenizer, protocol):
        return tokenizer.decode(tokens, seeds=_seeds(ids, "decode", len(tokens), protocol)).float()


def _autocast(tokenizer: Tokenizer, protocol: Protocol) -> torch.autocast:
    return torch.autocast(tokenizer.device.type, torch.bfloat16, enabled=protocol.precision == "bf16")


def _seeds(ids: Sequence[str], purpose: Literal["encode", "decode"], count: int, protocol: Protocol) -> list[int]:
    seeds = [image_seed(protocol.seed, image, purpose) for image in ids]
    return seeds + [0] * (count - len(seeds))
