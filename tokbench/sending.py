"""Sending tensors to a device without waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the processor on a device; to CUDA's it goes through pinned memory, and the processor does not wait."""
    if device.type != "cuda" or tensor.device == device:
        return tensor.to(device)
    if not tensor.is_pinned():
        tensor = pinned(tensor.shape, tensor.dtype).copy_(tensor)
    return tensor.to(device, non_blocking=True)


def pinned(shape: torch.Size | tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Memory of the processor that a CUDA device copies from and to by itself."""
    return torch.empty(shape, dtype=dtype, pin_memory=True)
