"""The grid shows what it is given, where it says."""

import numpy as np

from tokbench.bench.reconstruct import GridCell, GridRow
from tokbench.report.grid import ERROR_GAIN, draw_grid, error_map


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
