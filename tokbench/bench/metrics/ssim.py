"""Structural similarity. Paper: Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity".

Same definition as scikit-image with ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``: 11x11 Gaussian,
averaged over the positions where the window lies inside the image.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tokbench.bench.metrics.base import PerImageMetric
from tokbench.bench.observation import Observation, Subject
from tokbench.records.figures import figures_of

WINDOW, SIGMA, K1, K2, DATA_RANGE = 11, 1.5, 0.01, 0.03, 255.0


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of two batches of bytes.

    Args:
        a: ``[B, C, H, W]``, values 0 to 255.
        b: Images of the same shape.

    Returns:
        Mean over valid positions and channels, ``[B]``, float64.
    """
    a, b = a.cpu(), b.cpu()  # in float64, which not every accelerator has
    rows, columns = _blur_matrix(a.shape[2]), _blur_matrix(a.shape[3])
    # One by one: a matrix product may round otherwise with other images beside it.
    return torch.stack([_ssim(x.double(), y.double(), rows, columns) for x, y in zip(a, b, strict=True)])


def _ssim(a: Tensor, b: Tensor, rows: Tensor, columns: Tensor) -> Tensor:

    def blur(x: Tensor) -> Tensor:
        return rows @ x @ columns.T

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a.square(), blur(b * b) - mean_b.square()
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = (K1 * DATA_RANGE) ** 2, (K2 * DATA_RANGE) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
    return (luminance * (2 * covariance + c2) / (var_a + var_b + c2)).mean()


def _blur_matrix(size: int) -> Tensor:
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    kernel = torch.exp(-0.5 * (offsets / SIGMA).square())
    kernel /= kernel.sum()
    matrix = torch.zeros(size - WINDOW + 1, size, dtype=torch.float64)
    for i in range(len(matrix)):
        matrix[i, i : i + WINDOW] = kernel
    return matrix


class SSIM(PerImageMetric):
    """Mean structural similarity of bytes over positions, channels and images."""

    name = "ssim"
    figures = figures_of(name)

    @property
    def settings(self) -> dict[str, Any]:
        """Window, constants and range."""
        return {"window": f"gaussian {WINDOW}x{WINDOW}, sigma {SIGMA}, valid", "k1": K1, "k2": K2, "data_range": int(DATA_RANGE)}

    def not_applicable(self, subject: Subject) -> str | None:
        """Images must hold one window."""
        if min(subject.image_size) < WINDOW:
            return f"images are smaller than the {WINDOW}x{WINDOW} window"
        return None

    def per_image(self, observation: Observation) -> Tensor:
        """Similarity of each image."""
        return ssim(observation.reference, observation.reconstruction)
