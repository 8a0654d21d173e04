"""Structural similarity in five scales. Paper: Wang et al. 2003, "Multiscale structural similarity for image quality assessment".

    image -> contrast -> halved -> contrast -> ... -> halved -> similarity

The figure is the product of the four contrasts and the last similarity, each to the power of its weight.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.base import PerImageMetric
from tokbench.bench.metrics.ssim import DATA_RANGE, K1, K2, SIGMA, WINDOW, at_once, pieces, similarity_and_contrast
from tokbench.bench.observation import Observation, Subject
from tokbench.bench.psnr import doubles
from tokbench.records.figures import figures_of
from tokbench.records.protocol import Protocol, get_protocol

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, the finest first. Source: the paper, section 3.2."""

MIN_SIZE = (WINDOW - 1) * 2 ** (len(WEIGHTS) - 1) + 1
"""Smaller images do not hold the window in the coarsest scale."""


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of two batches of images in five scales.

    Each scale is half of the one before, by means of 2x2 pixels. A side that is odd gets a black line on both ends first, as in the
    package ``pytorch-msssim``. Contrasts below 0 count as 0.

    Args:
        a: ``[B, C, H, W]``, bytes or floats from 0 to 255, sides of at least ``MIN_SIZE``.
        b: Images of the same shape.

    Returns:
        Mean over channels, ``[B]``, float64.

    Raises:
        ValueError: If the images are smaller.
    """
    if min(a.shape[2:]) < MIN_SIZE:
        raise ValueError(f"images must have sides of at least {MIN_SIZE}, got {tuple(a.shape[2:])}")
    a, b = doubles(a), doubles(b)
    if at_once(a):
        return torch.cat([_ms_ssim(x, y).mean(dim=1) for x, y in pieces(a, b)])
    # One by one: a matrix product may round otherwise with other images beside it.
    return torch.stack([_ms_ssim(x, y).mean() for x, y in zip(a, b, strict=True)])


def _ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """Similarity of each channel of one pair ``[C, H, W]``, or of several on a device."""
    product = a.new_ones(a.shape[:-2])
    for scale, weight in enumerate(WEIGHTS):
        similarity, contrast = similarity_and_contrast(a, b)
        coarsest = scale == len(WEIGHTS) - 1
        product *= (similarity if coarsest else contrast).clamp(min=0) ** weight
        if not coarsest:
            a, b = (F.avg_pool2d(x, 2, padding=[side % 2 for side in x.shape[-2:]]) for x in (a, b))
    return product


class MSSSIM(PerImageMetric):
    """Mean structural similarity of bytes in five scales, over channels and images.

    Args:
        protocol: Its ``pixels``; None is ``photos-64``.
    """

    name = "ms_ssim"
    figures = figures_of(name)

    def __init__(self, protocol: Protocol | None = None) -> None:
        super().__init__()
        self.pixels = (protocol or get_protocol()).pixels

    @classmethod
    def create(cls, context: MetricContext) -> MSSSIM:
        """Build it as the protocol has it."""
        return cls(context.rules)

    @property
    def settings(self) -> dict[str, Any]:
        """Window, scales, constants, range and what it sees."""
        pixels = {} if self.pixels == "bytes" else {"pixels": self.pixels}
        return {
            "window": f"gaussian {WINDOW}x{WINDOW}, sigma {SIGMA}, valid",
            "scales": "means of 2x2 pixels, weights " + ", ".join(map(str, WEIGHTS)),
            "k1": K1,
            "k2": K2,
            "data_range": int(DATA_RANGE),
            **pixels,
        }

    def not_applicable(self, subject: Subject) -> str | None:
        """The coarsest scale must hold one window."""
        if min(subject.image_size) < MIN_SIZE:
            return f"images are smaller than {MIN_SIZE} px, of which the coarsest of {len(WEIGHTS)} scales holds no window"
        return None

    def per_image(self, observation: Observation) -> Tensor:
        """Similarity of each image."""
        return ms_ssim(*observation.levels(self.pixels))
