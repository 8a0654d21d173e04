"""Digests of tensors, which say what a network is whatever file it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def tensors_digest(state: Mapping[str, Tensor]) -> str:
    """Digest named tensors: SHA-256 over name, dtype, shape and little-endian bytes of each, in the order of their names.

    It does not depend on device, memory layout or the order of the mapping. Equal digests mean equal networks.

    Args:
        state: Tensors by name, of any dtype and device.

    Returns:
        Hex digits.
    """
    total = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        total.update(f"{len(name)}:{name}:{value.dtype}:{tuple(value.shape)}:".encode())
        if value.numel():
            total.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
