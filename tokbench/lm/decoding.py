"""Tokens of a language model back to pixels, as a person will see them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from tokbench.images import to_uint8
from tokbench.lm.reward import Pixels
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import DiscreteTokens

BATCH = 16
"""Images that are decoded at once."""


def pixels_of(images: Sequence[DiscreteTokens], tokenizer: Tokenizer) -> Iterator[Pixels]:
    """Decode images one after the other.

    Args:
        images: One image each, all on one grid.
        tokenizer: Whose tokens they are.

    Yields:
        uint8 ``[H, W, 3]``.
    """
    for start in range(0, len(images), BATCH):
        some = images[start : start + BATCH]
        codes = torch.cat([image.codes for image in some])
        filled = torch.cat([codes, codes[-1:].expand(BATCH - len(codes), -1, -1)])  # no rounding depends on what else is decoded
        batch = replace(some[0], codes=filled.to(tokenizer.device))
        decoded = to_uint8(tokenizer.decode(batch, seeds=[0] * BATCH)).cpu().permute(0, 2, 3, 1).numpy()
        yield from (np.ascontiguousarray(decoded[number]) for number in range(len(some)))
