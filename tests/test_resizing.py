"""Pictures are scaled to the same pixels under every version of Pillow."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tokbench
from tokbench import resizing
from tokbench.data.photos import PhotoCrops
from tokbench.resizing import PROBES, order_of, orders_as_installed, resized

FILTERS = [Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS]
SHOWING = Path("report/grid.py")
"""It scales pictures for the eye alone."""

native = Image.Image.resize


def across_first(self, size, how=None, box=None):
    """As Pillow up to version 12 scales."""
    left, top, right, bottom = box or (0, 0, *self.size)
    across = native(self, (size[0], self.height), how, box=(left, 0, right, self.height))
    return native(across, size, how, box=(0, top, size[0], bottom))


def down_first(self, size, how=None, box=None):
    """As no Pillow scales all pictures."""
    left, top, right, bottom = box or (0, 0, *self.size)
    down = native(self, (self.width, size[1]), how, box=(0, top, self.width, bottom))
    return native(down, size, how, box=(left, 0, right, size[1]))


@pytest.fixture(params=[native, across_first, down_first], ids=["as installed", "across first", "down first"])
def pillow(request, monkeypatch):
    monkeypatch.setattr(Image.Image, "resize", request.param)
    orders_as_installed.cache_clear()
    yield request.param
    orders_as_installed.cache_clear()


def test_pixels_are_the_same_under_every_pillow(pillow):
    rng, digest = np.random.default_rng(5), hashlib.sha256()
    for number in range(400):
        (width, height), (wide, high) = rng.integers(4, 200, 2).tolist(), rng.integers(4, 160, 2).tolist()
        image, box = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)), None
        if number % 2:
            left, top = rng.uniform(0, width / 2), rng.uniform(0, height / 2)
            box = (left, top, rng.uniform(left + 1, width), rng.uniform(top + 1, height))
        digest.update(resized(image, (wide, high), FILTERS[number % 4], box).tobytes())
    assert digest.hexdigest()[:16] == PIXELS


PIXELS = "2a3965642634fed3"
"""Measured under Pillow 13.0, and the same under 11.3 and 12.3."""


@pytest.mark.parametrize(("before", "after"), [probe for probes in PROBES.values() for probe in probes])
def test_probes_tell_the_orders_apart(before, after):
    noise = np.random.default_rng(0).integers(0, 256, (before[1], before[0], 3), dtype=np.uint8)
    one, other = (way(Image.fromarray(noise), after, Image.Resampling.BICUBIC) for way in (across_first, down_first))
    assert one.tobytes() != other.tobytes()
    assert (before, after) in PROBES[order_of(before, after)]


def test_orders_are_found_by_trying(pillow):
    expected = {across_first: (True, False), down_first: (False, True)}
    if pillow in expected:
        assert tuple(orders_as_installed().values()) == expected[pillow]


def test_the_same_size_and_nearest_pixels(pillow):
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 20, 3), dtype=np.uint8))
    assert resized(image, image.size, Image.Resampling.LANCZOS).tobytes() == image.tobytes()
    near = resized(image, (13, 7), Image.Resampling.NEAREST)
    assert near.size == (13, 7)
    assert {pixel for _, pixel in near.getcolors()} <= {pixel for _, pixel in image.getcolors(800)}


def test_embedded_photos_are_the_same_under_every_pillow(pillow):
    source, digest = PhotoCrops("test", 64), hashlib.sha256()
    for index in range(0, len(source), 4):
        digest.update(np.asarray(source.read(index)).tobytes())
    assert digest.hexdigest()[:16] == PHOTOS


PHOTOS = "d39e5ce98be4090e"


def test_nothing_else_scales_pictures():
    package = Path(tokbench.__file__).parent
    paths = {path.relative_to(package) for path in package.rglob("*.py") if ".resize(" in path.read_text()}
    assert paths == {Path("resizing.py"), SHOWING}
    assert resizing.resized is resized
