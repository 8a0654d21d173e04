"""Spectra, held to cosines added up one by one, and to noise whose slope is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tokbench.feed.predict.results import NotApplicable, Results
from tokbench.feed.predict.spectrum import bands_of, measure_spectrum, power_by_band, slope_of
from tokbench.layout import TokenLayout


def cosine(size: int) -> np.ndarray:
    """The orthonormal cosine transform as a matrix."""
    rows = [[np.cos(np.pi * (2 * x + 1) * k / (2 * size)) for x in range(size)] for k in range(size)]
    return np.array(rows) * np.sqrt(2 / size) * np.where(np.arange(size) == 0, np.sqrt(0.5), 1.0)[:, None]


def slow_power(maps: np.ndarray, side: int) -> np.ndarray:
    """Power by image and frequency, coefficient by coefficient."""
    scale = maps.reshape(-1, maps.shape[3]).std(axis=0)
    found = []
    for image in maps:
        sums: dict[int, list[float]] = {}
        for channel in range(maps.shape[3]):
            matrix = cosine(maps.shape[1])
            coefficients = matrix @ (image[:, :, channel] / scale[channel]) @ matrix.T
            for i in range(side):
                for j in range(side):
                    sums.setdefault(round(float(np.hypot(i, j))), []).append(coefficients[i, j] ** 2)
        found.append([np.mean(sums[number]) for number in range(1, side)])
    return np.array(found)


def test_power_is_that_of_cosines() -> None:
    maps = np.random.default_rng(0).normal(size=(3, 8, 8, 2)) * [1.0, 50.0] + 9
    np.testing.assert_allclose(power_by_band(maps, bands_of((8, 8))), slow_power(maps, 8), rtol=1e-9)
    np.testing.assert_allclose(power_by_band(maps, bands_of((4, 4))), slow_power(maps, 4), rtol=1e-9)


def test_frequencies_are_distances_from_the_mean() -> None:
    assert bands_of((3, 3)).tolist() == [[0, 1, 2], [1, 1, 2], [2, 2, 0]]
    assert bands_of((2, 4)).tolist() == [[0, 0, 1, 0], [1, 1, 1, 0]]


def test_slopes_are_those_of_polyfit_and_of_white_noise() -> None:
    power = np.array([5.0, 0.7, 0.2, 0.1])
    assert slope_of(power) == pytest.approx(np.polyfit(np.log10([1, 2, 3, 4]), np.log10(power), 1)[0])
    white = np.random.default_rng(0).normal(size=(64, 16, 16, 3))
    assert slope_of(power_by_band(white, bands_of((16, 16))).mean(axis=0)) == pytest.approx(0, abs=0.05)


def test_figures_of_latents_and_images(encoded, small_vae) -> None:
    made, results = encoded(small_vae), Results()
    bands = measure_spectrum(made, made.tokens.latents, results)
    latents = slow_power(made.tokens.latents.reshape(-1, 8, 8, 3).double().numpy(), 8).mean(axis=0)
    images = slow_power(made.pixels.permute(0, 2, 3, 1).double().numpy(), 8).mean(axis=0)
    slopes = [float(np.polyfit(np.log10(np.arange(1, 8)), np.log10(power), 1)[0]) for power in (latents, images)]
    assert results.figures["spectrum_slope"].value == pytest.approx(slopes[0], rel=1e-4)
    assert results.figures["spectrum_image_slope"].value == pytest.approx(slopes[1], rel=1e-6)
    assert results.figures["spectrum_excess"].value == pytest.approx(slopes[0] - slopes[1], rel=1e-4)
    assert results.figures["spectrum_excess"].interval.method == "jackknife of 12 groups in 10 folds"
    assert [band.frequency for band in bands] == list(range(1, 8))
    assert bands[0].images == pytest.approx(images[0], rel=1e-6)


def test_what_has_no_spectrum(encoded, small_vae) -> None:
    made = encoded(small_vae)
    sequence = replace(made, layout=TokenLayout((16, 16), (64,), channels=3))
    with pytest.raises(NotApplicable, match="the tokens are a sequence, which has no spectrum over the image"):
        measure_spectrum(sequence, made.tokens.latents, Results())
    small = replace(made, layout=TokenLayout((16, 16), (3, 3), channels=3))
    with pytest.raises(NotApplicable, match="a map of 3x3 has 2 frequencies, and a slope needs 3"):
        measure_spectrum(small, made.tokens.latents, Results())
    with pytest.raises(NotApplicable, match="images or latents have no power at some frequency"):
        measure_spectrum(made, torch.ones(24, 64, 3), Results())
