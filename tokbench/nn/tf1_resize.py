"""Bilinear resize as TensorFlow 1 does it: corners at the same places, no half pixels, no smoothing before images are made smaller."""

from __future__ import annotations

import torch
from jaxtyping import Float32
from torch import Tensor


def tf1_bilinear(images: Float32[Tensor, "b c h w"], size: int) -> Float32[Tensor, "b c s s"]:
    """Resize to a square, bit by bit as ``torch-fidelity`` does, with half of its reading: first all rows, then all columns.

    Args:
        images: Any values.
        size: Side of the results in pixels.
    """
    left, right, share = _taps(images.shape[3], size, images.device)
    turned = images.transpose(2, 3).contiguous()  # whole rows are copied at once
    near, far = turned.index_select(2, left), turned.index_select(2, right)
    rows = _between(near, far, share).transpose(2, 3).contiguous()
    upper, lower, share = _taps(images.shape[2], size, images.device)
    near, far = rows.index_select(2, upper), rows.index_select(2, lower)
    return _between(near, far, share)


def _between(near: Tensor, far: Tensor, share: Tensor) -> Tensor:
    """``near + (far - near) * share``, written over ``far``: new maps would not stay in a processor's caches."""
    return far.sub_(near).mul_(share[:, None]).add_(near)


def _taps(before: int, after: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Places of the two neighbours of every new pixel, and the share of the second."""
    places = torch.arange(after, dtype=torch.float32, device=device) * torch.tensor(before / after, dtype=torch.float32)
    first = places.long()
    return first, (first + 1).clamp_max(before - 1), places - first
