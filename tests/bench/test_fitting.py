"""Squares of protocols: scaled and cut as the libraries and the code that presets repeat do it."""

import numpy as np
import pytest
from PIL import Image

from tokbench.bench.fitting import fit, judged
from tokbench.bench.loader import load
from tokbench.data.open import open_source
from tokbench.images import UnreadableImage
from tokbench.records.protocol import get_protocol

SHAPES = [(97, 64), (64, 97), (131, 200), (333, 250), (40, 57), (64, 64), (65, 64)]


def picture(width, height, seed=0):
    rng = np.random.default_rng(seed)
    smooth = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    noise = rng.integers(-30, 31, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(smooth).astype(int) + noise, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("preset", "name"), [("seed-voken", "BILINEAR"), ("bsq-lanczos", "LANCZOS"), ("titok", "BICUBIC")])
def test_presets_scale_and_cut_as_torchvision(preset, name, shape):
    transforms = pytest.importorskip("torchvision.transforms")
    image, protocol = picture(*shape), get_protocol(preset, {"size": 64})
    whole = transforms.Compose([transforms.Resize(64, transforms.InterpolationMode[name]), transforms.CenterCrop(64)])
    assert np.array_equal(fit(image, protocol), np.asarray(whole(image)))


@pytest.mark.parametrize("preset", ["tokbench-256", "llamagen", "taming"])
@pytest.mark.parametrize("shape", [(60_000, 1), (1, 60_000)])
def test_lines_are_refused_before_they_take_gigabytes(preset, shape, tmp_path):
    """Scaled to 256 px, a line of 60,000 pixels has four billion."""
    line, protocol = Image.new("RGB", shape), get_protocol(preset)
    with pytest.raises(UnreadableImage, match=r"so thin that they would be [0-9x]+ once scaled, more than 100000000"):
        fit(line, protocol)
    line.save(tmp_path / "line.png")
    source = open_source(str(tmp_path), size=256)
    assert "so thin" in load(source, protocol, 0).reason


def by_halves(image, size):
    """The crop of guided diffusion, step by step: halve across and down, scale by cubes, cut at the lower of two middles."""
    pixels = image
    while min(pixels.size) >= 2 * size:
        if pixels.height % 2 or pixels.width % 2:
            pixels = pixels.resize((pixels.width // 2, pixels.height // 2), Image.Resampling.BOX)
            continue
        levels = np.asarray(pixels).astype(int)
        across = (levels[:, 0::2] + levels[:, 1::2] + 1) // 2
        pixels = Image.fromarray(((across[0::2] + across[1::2] + 1) // 2).astype(np.uint8))
    factor = size / min(pixels.size)
    pixels = pixels.resize((round(pixels.width * factor), round(pixels.height * factor)), Image.Resampling.BICUBIC)
    top, left = (pixels.height - size) // 2, (pixels.width - size) // 2
    return np.asarray(pixels)[top : top + size, left : left + size]


@pytest.mark.parametrize("shape", [*SHAPES, (256, 320), (130, 512)])
@pytest.mark.parametrize("preset", ["llamagen", "rae", "dcae-512"])
def test_presets_halve_scale_and_cut_as_guided_diffusion(preset, shape):
    image = picture(*shape)
    found = fit(image, get_protocol(preset, {"size": 64})).astype(int)
    off = np.abs(found - by_halves(image, 64))
    assert off.max() <= 2  # Pillow may halve down first, and rounds after each
    assert off.mean() < 0.3


@pytest.mark.parametrize("shape", SHAPES)
def test_taming_leaves_pixels_out_as_opencv(shape):
    cv2 = pytest.importorskip("cv2")
    image = picture(*shape)
    factor = 64 / min(image.size)
    size = (round(image.width * factor), round(image.height * factor))
    scaled = cv2.resize(np.asarray(image), size, interpolation=cv2.INTER_LINEAR)
    top, left = (scaled.shape[0] - 64) // 2, (scaled.shape[1] - 64) // 2
    found = fit(image, get_protocol("taming", {"size": 64})).astype(int)
    assert np.abs(found - scaled[top : top + 64, left : left + 64]).max() <= 1


def test_the_clean_default_scales_by_cubes_and_cuts_on_whole_pixels():
    image = picture(200, 131)
    scaled = np.asarray(image.resize((round(200 * 64 / 131), 64), Image.Resampling.BICUBIC))
    left = (scaled.shape[1] - 64) // 2
    assert np.array_equal(fit(image, get_protocol("tokbench-256", {"size": 64})), scaled[:, left : left + 64])


def test_filters_differ_and_no_scaling_keeps_pixels():
    presets = ("tokbench-256", "llamagen", "seed-voken", "bsq-lanczos", "taming")
    image, flat = picture(333, 250), picture(64, 64)
    found = [fit(image, get_protocol(name, {"size": 64})).tobytes() for name in presets]
    assert len(set(found)) == len(presets)
    for name in presets:
        assert np.array_equal(fit(flat, get_protocol(name, {"size": 64})), np.asarray(flat))


def test_squares_are_judged_at_another_size_by_the_filter_of_pillow():
    pixels = np.asarray(picture(64, 64))
    expected = np.asarray(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BILINEAR))
    assert np.array_equal(judged(pixels, (32, 32)), expected)
