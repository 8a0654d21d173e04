"""Noise that belongs to an image: drawn from its own seed, whatever lies beside it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tokbench.sending import moved


def standard_normal(shape: Sequence[int], seeds: Sequence[int], like: Tensor) -> Float[Tensor, " b *shape"]:
    """Draw standard normal noise on the processor, so that it is the same on every device.

    Args:
        shape: Shape of one image's noise.
        seeds: One per image.
        like: A tensor of the device and number format wanted.
    """
    noise = torch.stack([torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    return moved(noise, like.device).to(like.dtype)
