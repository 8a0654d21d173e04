"""Peak signal-to-noise ratio, per image, then the mean of the decibels."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from tokbench.bench.metrics.base import PerImageMetric
from tokbench.bench.observation import Observation
from tokbench.bench.psnr import psnr
from tokbench.records.figures import figures_of

__all__ = ["PSNR", "psnr"]


class PSNR(PerImageMetric):
    """``10 log10(255^2 / MSE)`` of bytes; the error is averaged over an image's pixels and channels.

    Identical images have no decibels: they are counted, and the mean is that of the others. It is never below the decibels of their
    pooled error.
    """

    name = "psnr"
    figures = figures_of(name)
    exact_value = math.inf

    @property
    def settings(self) -> dict[str, Any]:
        """Range and order of averaging."""
        return {"data_range": 255, "averaging": "mean of per-image dB"}

    def per_image(self, observation: Observation) -> Tensor:
        """Decibels of each image, infinite where it came back exactly."""
        return psnr(observation.reference, observation.reconstruction)
