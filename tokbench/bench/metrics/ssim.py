"""Structural similarity. Paper: Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity".

Same definition as scikit-image with ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``: 11x11 Gaussian,
averaged over the positions where the window lies inside the image. A protocol that repeats others may have another window, border or range.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.base import PerImageMetric
from tokbench.bench.observation import Observation, Subject
from tokbench.bench.psnr import doubles
from tokbench.records.figures import figures_of
from tokbench.records.protocol import Protocol, get_protocol

WINDOW, SIGMA, K1, K2, DATA_RANGE = 11, 1.5, 0.01, 0.03, 255.0

UNIFORM = 7
"""Side of the uniform window, which scikit-image has by default."""

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue. Source: ITU-R BT.601."""

BLOCK = 24
"""Positions along a side that one product blurs: the band of weights in a larger one would be mostly zeros. Kernels like twelves."""

BLOCKS = 4
"""Blocks of lines that are blurred down before they are blurred across: fewer are too little work for several threads."""

TOGETHER = 1 << 24
"""Numbers of a device's maps that are blurred together."""


@dataclass(frozen=True)
class SSIMRule:
    """How similarity is taken; the defaults are those of the figure ``ssim``.

    Args:
        uniform: Whether the window is 7x7 with equal weights, not 11x11 Gaussian.
        sample: Whether variances are those of samples: the sum of squares over N - 1.
        mirrored: Whether all positions count, with the image mirrored at its border.
        data_range: What the constants take for the range of pixels.
        luminance: Whether luminance alone is compared.
    """

    uniform: bool = False
    sample: bool = False
    mirrored: bool = False
    data_range: float = DATA_RANGE
    luminance: bool = False

    @property
    def window(self) -> int:
        """Side of the window."""
        return UNIFORM if self.uniform else WINDOW


def ssim(a: Tensor, b: Tensor, rule: SSIMRule | None = None) -> Tensor:
    """Structural similarity of two batches of images.

    Args:
        a: ``[B, C, H, W]``, values 0 to 255, bytes or floats.
        b: Images of the same shape.
        rule: How it is taken.

    Returns:
        Mean over positions and channels, ``[B]``, float64.
    """
    rule = rule or SSIMRule()
    a, b = doubles(a), doubles(b)
    if at_once(a):
        pairs = ((_prepared(x, rule), _prepared(y, rule)) for x, y in pieces(a, b))
        found = (_similarity(_moments_together(x, y, uniform=rule.uniform), rule) for x, y in pairs)
        return torch.stack([image.mean() for similarity in found for image in similarity])
    band = window_band(a.device, uniform=rule.uniform)
    # One by one: a matrix product may round otherwise with other images beside it.
    pairs = ((_prepared(x, rule), _prepared(y, rule)) for x, y in zip(a, b, strict=True))
    return torch.stack([_similarity(_moments(x, y, band), rule).mean() for x, y in pairs])


def _prepared(images: Tensor, rule: SSIMRule) -> Tensor:
    """An image ``[C, H, W]`` as the window slides over it, or several ``[B, C, H, W]``."""
    if rule.luminance:
        red, green, blue = (channel * weight for channel, weight in zip(images.split(1, dim=-3), LUMINANCE, strict=True))
        images = red + green + blue
    return F.pad(images, [rule.window // 2] * 4, mode="reflect") if rule.mirrored else images


def at_once(images: Tensor) -> bool:
    """Whether images are where few large pieces of work take less time than many small ones."""
    return images.device.type != "cpu"


def pieces(a: Tensor, b: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of images that a device can be given at once."""
    count = max(1, TOGETHER // (4 * a[0].numel()))
    return zip(a.split(count), b.split(count), strict=True)


def similarity_and_contrast(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Structural similarity of two images, or of several pairs on a device, and the part of it that luminance has no share in.

    Args:
        a: ``[C, H, W]``, float64, values 0 to 255, sides of at least ``WINDOW``; on a device ``[B, C, H, W]``.
        b: As many images of the same shape.

    Returns:
        Both averaged over valid positions, ``[C]`` or ``[B, C]``.
    """
    if at_once(a):
        shared, contrasts = _shared_and_contrast(_moments_together(a, b))
        return tuple(torch.stack([image.mean(dim=(1, 2)) for image in both]) for both in (shared, contrasts))  # type: ignore[return-value]
    similarity, contrast = _shared_and_contrast(_moments(a, b, window_band(a.device)))
    return similarity.mean(dim=(0, 2)), contrast.mean(dim=(0, 2))


def _shared_and_contrast(moments: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    mean_a, mean_b, products, squares = moments
    c1, c2 = (K1 * DATA_RANGE) ** 2, (K2 * DATA_RANGE) ** 2
    products_of_means, squared_means = mean_a * mean_b, mean_a.square() + mean_b.square()
    contrast = (2 * (products - products_of_means) + c2) / (squares - squared_means + c2)
    return contrast * (2 * products_of_means + c1) / (squared_means + c1), contrast


def _similarity(moments: tuple[Tensor, ...], rule: SSIMRule) -> Tensor:
    """Similarity at every position."""
    mean_a, mean_b, products, squares = moments
    products_of_means = mean_a * mean_b
    squared_means = mean_a.square().addcmul_(mean_b, mean_b)
    c1, c2 = (K1 * rule.data_range) ** 2, (K2 * rule.data_range) ** 2
    shared, spread = products - products_of_means, squares - squared_means
    if rule.sample:
        positions = rule.window**2
        shared, spread = (found.mul_(positions / (positions - 1)) for found in (shared, spread))
    above = (2 * shared + c2).mul_(products_of_means.mul_(2).add_(c1))
    below = spread.add_(c2).mul_(squared_means.add_(c1))
    return above.div_(below)


def _moments_together(a: Tensor, b: Tensor, *, uniform: bool = False) -> tuple[Tensor, ...]:
    """What ``_moments`` gives of one pair, of several ``[B, C, H, W]``: ``[B, C, lines, columns]`` each.

    The window is a sum of shifted images. A device is given few large pieces of work so, where matrix products would be thousands of small
    ones, and no image meets another.
    """
    maps = torch.stack([a, b, a * b, (a * a).addcmul_(b, b)])
    weights = _weights(uniform=uniform)
    for dim in (3, 4):
        length = maps.shape[dim] - len(weights) + 1
        blurred = maps.narrow(dim, 0, length) * weights[0]
        for shift, weight in enumerate(weights[1:], start=1):
            blurred.add_(maps.narrow(dim, shift, length), alpha=weight)
        maps = blurred
    return maps.unbind()


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
    """Blur ``[H, ..., W]`` along its first and last dimension, where the window lies inside; a few lines at once, which caches hold."""
    reach = band.shape[1] - BLOCK
    height, *between, width = maps.shape
    lines, columns = height - reach, width - reach
    rows = maps.reshape(height, -1)
    down, across = rows.new_empty(BLOCKS * BLOCK, rows.shape[1]), rows.new_empty(lines, rows.shape[1] // width, columns)
    for first in range(0, lines, len(down)):
        end = min(first + len(down), lines)
        for line in range(first, end, BLOCK):
            count = min(BLOCK, end - line)
            torch.mm(band[:count, : count + reach], rows[line : line + count + reach], out=down[line - first : line - first + count])
        blurred, found = down[: end - first].view(-1, width), across[first:end].view(-1, columns)
        for start in range(0, columns, BLOCK):
            size = min(BLOCK, columns - start)
            torch.mm(blurred[:, start : start + size + reach], band[:size, : size + reach].T, out=found[:, start : start + size])
    return across.view(lines, *between, columns)


@cache
def window_band(device: torch.device, *, uniform: bool = False) -> Tensor:
    """The window at ``BLOCK`` neighbouring positions, ``[BLOCK, BLOCK + window - 1]``: what lies before the first few fits any side.

    It is made once for each device, as a copy for every batch would be waited for there; nobody may write to it.
    """
    side = UNIFORM if uniform else WINDOW
    offsets = torch.arange(side, dtype=torch.float64) - side // 2
    window = torch.ones_like(offsets) if uniform else torch.exp(-0.5 * (offsets / SIGMA).square())
    band = torch.zeros(BLOCK, BLOCK + side - 1, dtype=torch.float64)
    for i in range(BLOCK):
        band[i, i : i + side] = window / window.sum()
    return band if device.type == "mps" else band.to(device)


def _weights(*, uniform: bool) -> list[float]:
    """The window as numbers, which no device has to be asked for."""
    if uniform:
        return [1 / UNIFORM] * UNIFORM
    window = [math.exp(-0.5 * ((place - WINDOW // 2) / SIGMA) ** 2) for place in range(WINDOW)]
    return [weight / math.fsum(window) for weight in window]


class SSIM(PerImageMetric):
    """Mean structural similarity of bytes over positions, channels and images.

    Args:
        protocol: Its ``ssim_...``, ``pixels`` and ``batch``; None is ``photos-64``.
    """

    name = "ssim"
    figures = figures_of(name)

    def __init__(self, protocol: Protocol | None = None) -> None:
        super().__init__()
        self.protocol = protocol or get_protocol()
        self.pixels = self.protocol.pixels
        self.rule = SSIMRule(
            uniform=self.protocol.ssim_window == "uniform 7x7",
            sample=self.protocol.ssim_covariance == "N - 1",
            mirrored=self.protocol.ssim_border == "mirrored",
            data_range=DATA_RANGE * (self.protocol.ssim_range or 1.0),
            luminance=self.protocol.ssim_colour == "luminance",
        )

    @classmethod
    def create(cls, context: MetricContext) -> SSIM:
        """Build it as the protocol has it."""
        return cls(context.rules)

    @property
    def settings(self) -> dict[str, Any]:
        """Window, constants and range."""
        window = f"uniform {UNIFORM}x{UNIFORM}" if self.rule.uniform else f"gaussian {WINDOW}x{WINDOW}, sigma {SIGMA}"
        found: dict[str, Any] = {
            "window": f"{window}, {self.protocol.ssim_border}",
            "k1": K1,
            "k2": K2,
            "data_range": int(self.rule.data_range),
        }
        if self.protocol.ssim_range is None:
            found |= {"data_range": "largest less smallest value of a batch", "batch": self.protocol.batch}
        if self.rule.sample:
            found["covariance"] = "N - 1"
        if self.rule.luminance:
            found["colour"] = "luminance"
        if self.pixels != "bytes":
            found["pixels"] = self.pixels
        return found

    def not_applicable(self, subject: Subject) -> str | None:
        """Images must hold one window."""
        if min(subject.image_size) < self.rule.window:
            return f"images are smaller than the {self.rule.window}x{self.rule.window} window"
        return None

    def per_image(self, observation: Observation) -> Tensor:
        """Similarity of each image."""
        before, after = observation.levels(self.pixels)
        if self.protocol.ssim_range is not None:
            return ssim(before, after, self.rule)
        size = self.protocol.batch  # of which a micro-batch holds whole ones
        parts = zip(before.split(size), after.split(size), strict=True)
        return torch.cat([ssim(x, y, replace(self.rule, data_range=_widest(x, y))) for x, y in parts])


def _widest(a: Tensor, b: Tensor) -> float:
    """The larger range of two batches; that of all pixels where both are flat, as constants cannot be 0."""
    return max(float(x.max()) - float(x.min()) for x in (a, b)) or DATA_RANGE
