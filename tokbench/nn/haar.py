"""Haar transform of images: squares of pixels become channels, and back, exactly but for rounding.

    a b  ->  (a + b + c + d) / 4    mean
    c d      (a + b - c - d) / 4    rows differ
             (a - b + c - d) / 4    columns differ
             (a - b - c + d) / 4    diagonals differ

A patch of 4 is the transform of a patch of 2 of all channels once more. Source: NVIDIA/Cosmos-Tokenizer
``cosmos_tokenizer/modules/patching.py``.
"""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor


def haar(images: Float[Tensor, "b c h w"], patch: int) -> Float[Tensor, "b d h2 w2"]:
    """Pack squares of pixels into channels, band by band.

    Args:
        images: Sides are multiples of ``patch``.
        patch: Side of a square, a power of two; 1 changes nothing.

    Returns:
        ``patch ** 2`` times as many channels: all means first, then the differences.
    """
    while patch > 1:
        a, b, c, d = rearrange(images, "n c (h dy) (w dx) -> (dy dx) n c h w", dy=2, dx=2).unbind()
        images = torch.cat([a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d], dim=1) / 4
        patch //= 2
    return images


def from_haar(bands: Float[Tensor, "b d h w"], patch: int) -> Float[Tensor, "b c h2 w2"]:
    """Unpack channels into squares of pixels, see ``haar``.

    Args:
        bands: As ``haar`` returns them.
        patch: Side of a square, a power of two.
    """
    while patch > 1:
        mean, rows, columns, diagonals = bands.chunk(4, dim=1)
        upper, lower = mean + rows, mean - rows
        difference, opposite = columns + diagonals, columns - diagonals
        pixels = torch.stack([upper + difference, upper - difference, lower + opposite, lower - opposite])
        bands = rearrange(pixels, "(dy dx) n c h w -> n c (h dy) (w dx)", dy=2)
        patch //= 2
    return bands
