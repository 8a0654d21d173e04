"""Networks see batches of one fixed size, so that an image's result does not depend on how many came with it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def in_micro_batches(network: Callable[[Tensor], Tensor], images: Tensor, *, size: int) -> Tensor:
    """Run a network over images in batches of exactly ``size``, the last one padded by repetition.

    Args:
        network: Maps ``[size, ...]`` to ``[size, ...]``.
        images: Any number of images.
        size: Images of a batch.

    Returns:
        The results of the images alone.
    """
    return torch.cat([network(padded(part, size))[: len(part)] for part in images.split(size)])


def padded(images: Tensor, size: int) -> Tensor:
    """Repeat the last image until there are ``size``; always contiguous, as another memory layout may round otherwise."""
    if len(images) == size:
        return images.contiguous()
    missing = images[-1:].expand(size - len(images), *images.shape[1:]).contiguous()
    return torch.cat([images, missing]).contiguous()
