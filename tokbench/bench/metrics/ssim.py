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
from tokbench.bench.psnr import doubles
from tokbench.records.figures import figures_of

WINDOW, SIGMA, K1, K2, DATA_RANGE = 11, 1.5, 0.01, 0.03, 255.0


BLOCK = 24
"""Positions along a side that one product blurs: the band of weights in a larger one would be mostly zeros. Kernels like twelves."""


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of two batches of bytes.

    Args:
        a: ``[B, C, H, W]``, values 0 to 255.
        b: Images of the same shape.

    Returns:
        Mean over valid positions and channels, ``[B]``, float64.
    """
    band = window_band(a.device)
    # One by one: a matrix product may round otherwise with other images beside it.
    return torch.stack([_ssim(x, y, band) for x, y in zip(doubles(a), doubles(b), strict=True)])


def similarity_and_contrast(a: Tensor, b: Tensor, band: Tensor) -> tuple[Tensor, Tensor]:
    """Structural similarity of two images, and the part of it that luminance has no share in.

    Args:
        a: ``[C, H, W]``, float64, values 0 to 255, sides of at least ``WINDOW``.
        b: An image of the same shape.
        band: What ``window_band`` returned.

    Returns:
        Both averaged over valid positions, ``[C]``.
    """
    mean_a, mean_b, products, squares = _moments(a, b, band)
    c1, c2 = (K1 * DATA_RANGE) ** 2, (K2 * DATA_RANGE) ** 2
    products_of_means, squared_means = mean_a * mean_b, mean_a.square() + mean_b.square()
    contrast = (2 * (products - products_of_means) + c2) / (squares - squared_means + c2)
    similarity = contrast * (2 * products_of_means + c1) / (squared_means + c1)
    return similarity.mean(dim=(0, 2)), contrast.mean(dim=(0, 2))


def _ssim(a: Tensor, b: Tensor, band: Tensor) -> Tensor:
    mean_a, mean_b, products, squares = _moments(a, b, band)
    products_of_means = mean_a * mean_b
    squared_means = mean_a.square().addcmul_(mean_b, mean_b)
    c1, c2 = (K1 * DATA_RANGE) ** 2, (K2 * DATA_RANGE) ** 2
    above = (2 * (products - products_of_means) + c2).mul_(products_of_means.mul_(2).add_(c1))
    below = (squares - squared_means).add_(c2).mul_(squared_means.add_(c1))
    return above.div_(below).mean()


def _moments(a: Tensor, b: Tensor, band: Tensor) -> tuple[Tensor, ...]:
    """Means of both images under the window, of their product and of the sum of their squares, ``[lines, C, columns]`` each."""
    channels, height, width = a.shape
    maps = a.new_empty(height, 4, channels, width)
    a, b = a.transpose(0, 1), b.transpose(0, 1)
    maps[:, 0], maps[:, 1] = a, b
    torch.mul(a, b, out=maps[:, 2])
    torch.mul(a, a, out=maps[:, 3]).addcmul_(b, b)
    return _blurred(maps, band).unbind(dim=1)


def _blurred(maps: Tensor, band: Tensor) -> Tensor:
    """Blur ``[H, ..., W]`` along its first and last dimension, where the window lies inside."""
    height, *between, width = maps.shape
    lines, columns = height - WINDOW + 1, width - WINDOW + 1
    rows = maps.reshape(height, -1)
    down = rows.new_empty(lines, rows.shape[1])
    for start in range(0, lines, BLOCK):
        size = min(BLOCK, lines - start)
        torch.mm(band[:size, : size + WINDOW - 1], rows[start : start + size + WINDOW - 1], out=down[start : start + size])
    across = down.new_empty(lines * (rows.shape[1] // width), columns)
    down = down.view(-1, width)
    for start in range(0, columns, BLOCK):
        size = min(BLOCK, columns - start)
        across[:, start : start + size] = down[:, start : start + size + WINDOW - 1] @ band[:size, : size + WINDOW - 1].T
    return across.view(lines, *between, columns)


def window_band(device: torch.device) -> Tensor:
    """The window at ``BLOCK`` neighbouring positions, ``[BLOCK, BLOCK + WINDOW - 1]``: what lies before the first few fits any side."""
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    window = torch.exp(-0.5 * (offsets / SIGMA).square())
    band = torch.zeros(BLOCK, BLOCK + WINDOW - 1, dtype=torch.float64)
    for i in range(BLOCK):
        band[i, i : i + WINDOW] = window / window.sum()
    return band if device.type == "mps" else band.to(device)


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
