"""The grid shows what it is given, where it says."""

import re

import numpy as np
import pytest
from PIL import ImageFont

from tokbench.bench.reconstruct import GridCell, GridRow
from tokbench.report.grid import ERROR_GAIN, SCALE, _wrapped, draw_grid, error_map


def test_error_map_is_white_without_error_and_darkens():
    a = np.full((4, 4, 3), 100, np.uint8)
    b = a.copy()
    b[0, 0] = 110
    grey = error_map(a, b)
    assert grey[1, 1].tolist() == [255, 255, 255]
    assert grey[0, 0].tolist() == [255 - 10 * ERROR_GAIN] * 3
    b[0, 0] = 255
    assert error_map(a, b)[0, 0, 0] == 0


def test_grid_holds_every_picture_pixel_by_pixel():
    red, blue = (np.full((8, 8, 3), colour, np.uint8) for colour in ((250, 0, 0), (0, 0, 250)))
    row = GridRow("a very long name that does not fit below its picture", red, (GridCell(blue, "1 dB"), GridCell(red, "inf dB")))
    picture = np.asarray(draw_grid([row, row], ["one", "two"], tile=64, footer=["by someone"]))
    assert picture.shape[1] == 10 + 3 * 74
    assert (picture == [250, 0, 0]).all(axis=2).sum() == 2 * 2 * 64 * 64
    assert (picture == [0, 0, 250]).all(axis=2).sum() == 2 * 64 * 64


def test_pictures_that_are_not_square_keep_their_shape():
    tall = np.zeros((80, 40, 3), np.uint8)
    picture = np.asarray(draw_grid([GridRow("tall", tall, (GridCell(tall, ""),))], ["x"], tile=64))
    assert (picture[40:100, 10:74] == 0).all(axis=2).any(axis=0).sum() == 32


def test_the_scale_of_the_error_maps_is_what_they_show():
    gain = int(re.search(r"grey is 255 - (\d+) x d", SCALE).group(1))
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    b[:4] = np.clip(a[:4].astype(int) + rng.integers(-9, 10, (4, 8, 3)), 0, 255)
    difference = np.abs(a.astype(float) - b).mean(axis=2)
    said = np.clip(255 - gain * difference, 0, 255)
    assert np.abs(error_map(a, b) - said[..., None]).max() <= 0.5
    assert (said > 0).any()
    assert (said == 0).any()


@pytest.mark.parametrize("width", [60, 200, 800])
def test_lines_below_the_grid_stay_inside_and_are_drawn(width):
    font = ImageFont.load_default(size=12)
    text = f"{SCALE} https://example.org/{'x' * 200}"
    lines = _wrapped(text, font, width)
    assert all(font.getlength(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert SCALE.split()[0] in lines[0]
    grey = np.full((8, 8, 3), 200, np.uint8)
    picture = np.asarray(draw_grid([GridRow("a", grey, (GridCell(grey, ""),))], ["x"], tile=width, footer=["by someone"]))
    ink = (picture[-16 * 3 :] < 200).any(axis=(1, 2))
    assert ink.any()
    assert not ink[-4:].any()  # nothing is cut off
