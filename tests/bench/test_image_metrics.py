"""PSNR, SSIM and LPIPS against independent values of the same pictures."""

import json
import math

import numpy as np
import pytest
import torch

from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.lpips import LPIPS, LPIPSVGG
from tokbench.bench.metrics.psnr import PSNR, psnr
from tokbench.bench.metrics.ssim import SSIM, ssim
from tokbench.bench.observation import Subject
from tokbench.weights.assets import asset_path

CONTEXT = MetricContext(torch.device("cpu"), micro_batch=8)


@pytest.fixture
def pairs(goldens):
    arrays = np.load(goldens / "metrics" / "image_pairs_8x64x64.npz")
    return tuple(torch.from_numpy(arrays[key]).permute(0, 3, 1, 2).contiguous() for key in "ab")


@pytest.fixture
def expected(goldens):
    return json.loads((goldens / "metrics" / "goldens.json").read_text())["images"]


def test_psnr_equals_scikit_image_and_is_infinite_for_equal_images(pairs, expected):
    values = psnr(*pairs)
    for row in expected["pairs"]:
        if row["psnr_is_inf"]:
            assert math.isinf(values[row["i"]])
        else:
            assert float(values[row["i"]]) == pytest.approx(row["psnr_skimage"], abs=1e-6)


def test_psnr_averages_decibels_not_errors(pairs, expected, observe):
    metric = PSNR()
    metric.update(observe(pairs[0][1:], pairs[1][1:]))
    decibels = [row["psnr_skimage"] for row in expected["pairs"][1:]]
    assert metric.compute()["psnr"] == pytest.approx(sum(decibels) / 7, abs=1e-6)
    assert abs(metric.compute()["psnr"] - expected["psnr_torchmetrics_pooled_all_default"]) > 5


def test_ssim_equals_scikit_image_with_gaussian_weights(pairs, expected):
    values = ssim(*pairs)
    for row in expected["pairs"]:
        assert float(values[row["i"]]) == pytest.approx(row["ssim_skimage_gauss1.5_popcov"], abs=1e-6)


@pytest.mark.parametrize("shape", [(40, 57), (11, 11), (42, 43), (74, 12), (11, 300)])
def test_ssim_of_images_of_any_shape_equals_scikit_image(shape):
    metrics = pytest.importorskip("skimage.metrics")
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    b = np.clip(a.astype(int) + rng.integers(-30, 30, a.shape), 0, 255).astype(np.uint8)
    wanted = metrics.structural_similarity(
        a, b, data_range=255, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    tensors = [torch.from_numpy(x).permute(2, 0, 1)[None] for x in (a, b)]
    assert float(ssim(*tensors)) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(("dark", "bright"), [(0, 255), (250, 255), (128, 129), (255, 255)])
def test_ssim_of_flat_images_is_that_of_their_luminance(dark, bright):
    """No variance is left by rounding where there is none."""
    a, b = (torch.full((1, 3, 70, 70), value, dtype=torch.uint8) for value in (dark, bright))
    c1 = (0.01 * 255) ** 2
    assert float(ssim(a, b)) == pytest.approx((2 * dark * bright + c1) / (dark**2 + bright**2 + c1), abs=1e-9)


def test_ssim_and_psnr_of_an_image_do_not_depend_on_the_others(pairs):
    for measure in (ssim, psnr):
        assert torch.equal(torch.cat([measure(a[None], b[None]) for a, b in zip(*pairs, strict=True)]), measure(*pairs))


def test_ssim_needs_room_for_its_window():
    assert SSIM().not_applicable(Subject(None, 10, (10, 64))) == "images are smaller than the 11x11 window"
    assert SSIM().not_applicable(Subject(None, 10, (11, 11))) is None


def test_lpips_alex_as_embedded_equals_the_lpips_package(pairs, goldens, observe):
    wanted = json.loads((goldens / "metrics" / "lpips_real.json").read_text())["alex"]["lpips_package_0.1.4"]
    values = LPIPS.create(CONTEXT).per_image(observe(*pairs))
    np.testing.assert_allclose(values.numpy(), wanted, atol=1e-3)
    assert float(values[0]) == 0.0


def test_lpips_vgg_equals_the_lpips_package(pairs, goldens, observe):
    if not asset_path("lpips-vgg").is_file():
        pytest.skip("lpips-vgg has not been fetched: tokbench weights get lpips-vgg")
    wanted = json.loads((goldens / "metrics" / "lpips_real.json").read_text())["vgg"]["lpips_package_0.1.4"]
    np.testing.assert_allclose(LPIPSVGG.create(CONTEXT).per_image(observe(*pairs)).numpy(), wanted, atol=1e-5)


def test_lpips_heads_are_those_of_the_lpips_package():
    lpips = pytest.importorskip("lpips")
    from pathlib import Path

    from tokbench.weights.checkpoints import read_state

    ours, _ = read_state(asset_path("lpips-alex"))
    theirs = torch.load(Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth", map_location="cpu", weights_only=True)
    for key, value in theirs.items():
        assert torch.equal(ours[key].float(), value), key
