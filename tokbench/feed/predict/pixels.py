"""How far decoded bytes are from images, in decibels that can be averaged and subtracted."""

from __future__ import annotations

import math

from jaxtyping import Float64, UInt8
from torch import Tensor

from tokbench.bench.psnr import psnr

CEILING = 10 * math.log10(255**2 * 12)
"""PSNR of an image that is off by the rounding of bytes alone, whose mean square is 1/12: 58.9 dB. Better ones count as that."""


def decibels(images: UInt8[Tensor, "b 3 h w"], others: UInt8[Tensor, "b 3 h w"]) -> Float64[Tensor, " b"]:
    """PSNR of each image, at most ``CEILING``: what came back exactly has no finite one."""
    return psnr(images, others).clamp(max=CEILING)
