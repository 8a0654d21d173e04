"""Spectrum: how the power of latents falls with frequency, beside that of the images over the same frequencies.

The power of images falls steeply, and generators draw low frequencies first. Latents whose power does not fall so hold detail that is as large
as what it belongs to. Power is that of the coefficients of a cosine transform of each channel, brought to unit variance, averaged over images,
channels and directions. The slope is that of a straight line through both logarithms.

Source: the cosine transform of latents is that of Skorokhodov et al. 2025, "Improving the Diffusability of Autoencoders" (arXiv 2502.14831).
Slopes of power against the image's follow Spectrum Matching, 2026 (arXiv 2603.14645).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int64
from numpy import ndarray
from scipy.fft import dctn
from torch import Tensor

from tokbench.feed.predict.encoded import Encoded
from tokbench.feed.predict.results import NotApplicable, Results
from tokbench.records.intervals import group_jackknife
from tokbench.records.prediction_record import Band

FEWEST_BANDS = 3
"""Frequencies below which a slope says nothing."""

TOGETHER = 1 << 23
"""Values transformed at once."""


def measure_spectrum(encoded: Encoded, vectors: Float[Tensor, "b l c"], results: Results) -> tuple[Band, ...]:
    """Add the slopes, with a jackknife over groups, and return the power by frequency.

    Args:
        encoded: Images.
        vectors: Their latents, or vectors of their codes.
        results: Where figures go.

    Raises:
        NotApplicable: If the tokens are no map, or one of few rows or columns, or have no power at some frequency.
    """
    grid = encoded.layout.grid
    if len(grid) != 2:
        raise NotApplicable("the tokens are a sequence, which has no spectrum over the image")
    bands = bands_of(grid)
    count = int(bands.max())
    if count < FEWEST_BANDS:
        raise NotApplicable(f"a map of {grid[0]}x{grid[1]} has {count} frequencies, and a slope needs {FEWEST_BANDS}")
    maps = vectors.numpy().reshape(len(encoded), *grid, -1)
    latents = power_by_band(maps, bands)
    images = power_by_band(encoded.pixels.permute(0, 2, 3, 1).numpy(), bands)
    if not (latents.mean(axis=0) > 0).all() or not (images.mean(axis=0) > 0).all():
        raise NotApplicable("images or latents have no power at some frequency, and a logarithm needs some")
    about = {"transform": "DCT-II, orthonormal", "channels": "at unit variance", "frequencies": count}

    def add(key: str, powers: tuple[ndarray, ...], signs: tuple[int, ...]) -> None:
        def slope(keep: np.ndarray) -> float:
            return sum(sign * slope_of(power[keep].mean(axis=0)) for sign, power in zip(signs, powers, strict=True))

        value = slope(np.ones(len(encoded), dtype=bool))
        results.of_set(key, value, group_jackknife(value, slope, encoded.groups), **about)

    add("spectrum_slope", (latents,), (1,))
    add("spectrum_image_slope", (images,), (1,))
    add("spectrum_excess", (latents, images), (1, -1))
    means = zip(latents.mean(axis=0).tolist(), images.mean(axis=0).tolist(), strict=True)
    return tuple(Band(number, *both) for number, both in enumerate(means, start=1))


def bands_of(grid: tuple[int, ...]) -> Int64[ndarray, "h w"]:
    """Number of the frequency that each coefficient belongs to: its distance from the mean, rounded.

    Distances are those on a square of the shorter side. The mean, and corners beyond what both axes reach, have 0.
    """
    rows, columns = grid
    side = min(grid)
    radius = np.hypot(np.arange(rows)[:, None] * side / rows, np.arange(columns)[None] * side / columns)
    bands = np.rint(radius).astype(np.int64)
    return np.where(bands < side, bands, 0)


def power_by_band(maps: Float[ndarray, "n h w c"] | ndarray, bands: Int64[ndarray, "i j"]) -> Float[ndarray, "n f"]:
    """Mean power of the coefficients of each frequency, by image.

    Args:
        maps: Values of several channels; each is divided by its deviation over all images. One that never changes has no power.
        bands: Numbers of frequencies of the first coefficients; those of larger maps are left out.
    """
    rows, columns = bands.shape
    deviation = _deviation(maps)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)
    sizes = np.bincount(bands.ravel())[1:]
    found = []
    for part in _parts(maps):
        coefficients = dctn(part * scale, axes=(1, 2), norm="ortho")[:, :rows, :columns]
        power = (coefficients**2).mean(axis=3).reshape(len(part), -1)
        sums = [np.bincount(bands.ravel(), weights=row)[1:] for row in power]
        found.append(np.array(sums) / sizes)
    return np.concatenate(found)


def slope_of(power: Float[ndarray, " f"]) -> float:
    """Slope of a straight line through the logarithms of power and of frequency, by least squares."""
    x, y = np.log10(np.arange(1, len(power) + 1)), np.log10(power)
    x = x - x.mean()
    return float((x * (y - y.mean())).sum() / (x * x).sum())


def _deviation(maps: ndarray) -> ndarray:
    """Standard deviation of every channel over all images, in double precision."""
    count = int(np.prod(maps.shape[:3]))
    mean = sum(part.sum(axis=(0, 1, 2)) for part in _parts(maps)) / count
    squares = sum(((part - mean) ** 2).sum(axis=(0, 1, 2)) for part in _parts(maps))
    found: ndarray = np.sqrt(squares / count)
    return found


def _parts(maps: ndarray) -> Iterator[ndarray]:
    size = max(1, TOGETHER // int(np.prod(maps.shape[1:])))
    for start in range(0, len(maps), size):
        yield maps[start : start + size].astype(np.float64)
