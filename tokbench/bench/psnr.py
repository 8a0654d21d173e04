"""Peak signal-to-noise ratio of bytes, where no metric is wanted around it."""

from __future__ import annotations

import torch
from torch import Tensor


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of two batches of bytes.

    Args:
        a: ``[B, C, H, W]``, values 0 to 255.
        b: Images of the same shape.

    Returns:
        Decibels ``[B]``, float64; infinite where images are identical.
    """
    # One by one on a processor, whose caches do not hold more.
    pairs = zip(a.split(1), b.split(1), strict=True) if a.device.type == "cpu" and len(a) else [(a, b)]
    errors = torch.cat([(doubles(x) - doubles(y)).square_().mean(dim=(1, 2, 3)) for x, y in pairs])
    return 10.0 * torch.log10(255.0**2 / errors)


def doubles(values: Tensor) -> Tensor:
    """Values in double precision, where they are; on the CPU if their device has none."""
    return (values.cpu() if values.device.type == "mps" else values).double()
