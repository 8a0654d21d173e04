"""Peak signal-to-noise ratio, per image, then the mean of the decibels."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tokbench.bench.metrics.base import PerImageMetric
from tokbench.bench.observation import Observation
from tokbench.bench.psnr import psnr

__all__ = ["PSNR", "psnr"]


class PSNR(PerImageMetric):
    """``10 log10(255^2 / MSE)`` of bytes; the error is averaged over an image's pixels and channels.

    Identical images give infinity. The mean of per-image decibels is never below the decibels of the pooled error.
    """

    name = "psnr"
    unit = "dB"
    higher_is_better = True

    @property
    def settings(self) -> dict[str, Any]:
        """Range and order of averaging."""
        return {"data_range": 255, "averaging": "mean of per-image dB"}

    def per_image(self, observation: Observation) -> Tensor:
        """Decibels of each image."""
        return psnr(observation.reference, observation.reconstruction)
