"""PSNR, SSIM and LPIPS against independent values of the same pictures."""

import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from tokbench.bench.context import MetricContext
from tokbench.bench.metrics import dists as dists_module
from tokbench.bench.metrics.dists import DISTS
from tokbench.bench.metrics.lpips import LPIPS, LPIPSVGG
from tokbench.bench.metrics.ms_ssim import MSSSIM, WEIGHTS, ms_ssim
from tokbench.bench.metrics.psnr import PSNR, psnr
from tokbench.bench.metrics.ssim import SSIM, SSIMRule, ssim
from tokbench.bench.microbatch import padded
from tokbench.bench.observation import Subject
from tokbench.errors import TokbenchError
from tokbench.nn.dists import CHANNELS, build_dists, dists_rows
from tokbench.nn.perceptual import CONVOLUTIONS, lpips_rows
from tokbench.records.protocol import get_protocol
from tokbench.weights.assets import asset_path
from tokbench.weights.judges import read_judge

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


RULES = [SSIMRule(), SSIMRule(uniform=True, sample=True), SSIMRule(mirrored=True, luminance=True), SSIMRule(data_range=2.0)]


@pytest.fixture
def as_on_a_device(monkeypatch):
    """Images are compared many at once, in two pieces."""
    for place in (sys.modules[ssim.__module__], sys.modules[ms_ssim.__module__]):
        monkeypatch.setattr(place, "at_once", lambda images: True)
    monkeypatch.setattr(sys.modules[ssim.__module__], "TOGETHER", 4 * 3 * 176 * 190 * 2)


def test_many_images_at_once_are_as_similar_as_one_by_one(request):
    a = torch.randint(0, 256, (3, 3, 176, 190), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    b = (a.float() * 0.7 + 40 * torch.rand(a.shape, generator=torch.Generator().manual_seed(1))).to(torch.uint8)
    alone = [*(ssim(a, b, rule) for rule in RULES), ms_ssim(a, b)]
    request.getfixturevalue("as_on_a_device")
    together = [*(ssim(a, b, rule) for rule in RULES), ms_ssim(a, b)]
    for one, other in zip(alone, together, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-12)
    pairs = [(a[i : i + 1], b[i : i + 1]) for i in (2, 0, 1)]
    for measure, found in zip((ssim, ms_ssim), (together[0], together[-1]), strict=True):
        assert torch.equal(torch.cat([measure(*pair) for pair in pairs]), found[[2, 0, 1]])  # no image knows of the others


def test_ssim_needs_room_for_its_window():
    assert SSIM().not_applicable(Subject(None, 10, (10, 64))) == "images are smaller than the 11x11 window"
    assert SSIM().not_applicable(Subject(None, 10, (11, 11))) is None


def shown(shape, noise, seed=0):
    """A smooth picture with some noise, and the same with more of it, as bytes ``[1, 3, H, W]``."""
    rng = np.random.default_rng(seed)
    down, across = np.indices(shape)
    smooth = 127 + 80 * np.sin(down / 17)[None] * np.cos(across[None] / np.array([9, 14, 23])[:, None, None])
    a = np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
    b = np.clip(a + rng.normal(0, noise, smooth.shape), 0, 255).astype(np.uint8)
    return torch.from_numpy(a)[None], torch.from_numpy(b)[None]


def slow_ms_ssim(a, b):
    """As it is written down: another library filters, and pixels are averaged by slices."""
    ndimage = pytest.importorskip("scipy.ndimage")
    window = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

    def blurred(x):
        return ndimage.correlate1d(ndimage.correlate1d(x, window, axis=0), window, axis=1)[5:-5, 5:-5]

    def halved(x):
        x = np.pad(x, [(side % 2, side % 2) for side in x.shape])
        x = x[: len(x) // 2 * 2, : x.shape[1] // 2 * 2]
        return (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4

    found = []
    for x, y in zip(a[0].numpy().astype(float), b[0].numpy().astype(float), strict=True):
        value = 1.0
        for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
            mx, my = blurred(x), blurred(y)
            contrast = (2 * (blurred(x * y) - mx * my) + c2) / (blurred(x * x) - mx**2 + blurred(y * y) - my**2 + c2)
            if scale == 4:
                contrast = contrast * (2 * mx * my + c1) / (mx**2 + my**2 + c1)
            value *= max(contrast.mean(), 0) ** weight
            x, y = halved(x), halved(y)
        found.append(value)
    return np.mean(found)


@pytest.mark.parametrize(("shape", "noise"), [((176, 192), 12), ((161, 203), 40), ((256, 170), 90)])
def test_ms_ssim_is_what_is_written_down(shape, noise):
    a, b = shown(shape, noise)
    assert float(ms_ssim(a, b)) == pytest.approx(slow_ms_ssim(a, b), abs=1e-9)
    assert float(ms_ssim(a, b)) < 0.99
    assert float(ms_ssim(a, a)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("shape", [(176, 192), (171, 203)])
def test_ms_ssim_equals_pytorch_msssim(shape):
    package = pytest.importorskip("pytorch_msssim")
    a, b = shown(shape, 30)
    wanted = package.ms_ssim(a.float(), b.float(), data_range=255).item()  # whose window is of single precision
    assert wanted == pytest.approx(float(ms_ssim(a, b)), abs=1e-5)


def test_ms_ssim_of_an_image_turned_to_its_negative_is_0():
    a, _ = shown((170, 170), 0)
    assert float(ms_ssim(a, 255 - a)) == 0


def test_ms_ssim_of_an_image_does_not_depend_on_the_others():
    pairs = [shown((161, 170), 20, seed) for seed in range(3)]
    together = ms_ssim(*(torch.cat(side) for side in zip(*pairs, strict=True)))
    assert torch.equal(torch.cat([ms_ssim(*pair) for pair in pairs]), together)


def test_ms_ssim_needs_room_in_its_coarsest_scale():
    assert MSSSIM().not_applicable(Subject(None, 10, (160, 256))).startswith("images are smaller than 161 px")
    assert MSSSIM().not_applicable(Subject(None, 10, (161, 161))) is None
    assert sum(WEIGHTS) == pytest.approx(1, abs=2e-4)
    with pytest.raises(ValueError, match=r"sides of at least 161, got \(160, 170\)"):
        ms_ssim(*(x[:, :, :160, :170] for x in shown((170, 170), 1)))


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


@pytest.mark.parametrize("given", ["[-1, 1]", "[0, 1]"])
def test_lpips_of_bytes_is_that_of_their_floats(given, pairs, observe):
    rules = replace(get_protocol(), lpips_range=given)
    metric = LPIPS.create(MetricContext(torch.device("cpu"), 16, protocol=rules))
    seen = observe(*pairs)
    floats = (images if given == "[-1, 1]" else (images + 1.0) / 2.0 for images in seen.pair("bytes"))
    of_floats = lpips_rows(metric.module[0], *(padded(images, 16) for images in floats))[: len(seen)]
    assert torch.equal(metric.per_image(seen), of_floats)


def test_lpips_heads_are_those_of_the_lpips_package():
    lpips = pytest.importorskip("lpips")
    from pathlib import Path

    from tokbench.weights.checkpoints import read_state

    ours, _ = read_state(asset_path("lpips-alex"))
    theirs = torch.load(Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth", map_location="cpu", weights_only=True)
    for key, value in theirs.items():
        assert torch.equal(ours[key].float(), value), key


def their_dists(monkeypatch, vgg, alpha, beta):
    """The network of torchmetrics with given weights."""
    theirs = pytest.importorskip("torchmetrics.functional.image.dists")
    models = pytest.importorskip("torchvision.models")

    def with_weights(weights):
        with torch.device("meta"):  # its classifier is not wanted
            network = models.vgg16(weights=None, init_weights=False)
        for part, layer in CONVOLUTIONS["vgg"]:
            state = {kind: vgg[f"net.slice{part}.{layer}.{kind}"].float() for kind in ("weight", "bias")}
            network.features[layer].load_state_dict(state, assign=True)
        return network

    monkeypatch.setattr(theirs, "vgg16", with_weights)
    network = theirs.DISTSNetwork(load_weights=False).eval().requires_grad_(False)
    network.alpha.data, network.beta.data = alpha, beta
    return network


def random_vgg():
    generator = torch.Generator().manual_seed(0)
    state, width = {}, 3
    for part, layer in CONVOLUTIONS["vgg"]:
        scale = math.sqrt(2 / (9 * width))
        state[f"net.slice{part}.{layer}.weight"] = scale * torch.randn(CHANNELS[part], width, 3, 3, generator=generator)
        state[f"net.slice{part}.{layer}.bias"] = 0.1 * torch.randn(CHANNELS[part], generator=generator)
        width = CHANNELS[part]
    return state


def test_dists_equals_torchmetrics_on_any_weights(monkeypatch, pairs):
    vgg = random_vgg()
    alpha, beta = torch.rand(2, 1, sum(CHANNELS), 1, 1, generator=torch.Generator().manual_seed(1))
    images = [side[:4, :, :50, :57].float() / 255 for side in pairs]
    wanted = their_dists(monkeypatch, vgg, alpha, beta)(*images)
    found = dists_rows(build_dists(vgg, alpha, beta), *images)
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), atol=1e-5)
    assert float(found[0]) == 0.0  # of an image and itself, exactly
    assert found[1:].min() > 1e-5
    assert torch.equal(found, dists_rows(build_dists(vgg, alpha, beta), *reversed(images)))
    with pytest.raises(ValueError, match="DISTS has 1475 weights of each kind, got 3 and 1475"):
        build_dists(vgg, alpha[:, :3], beta)


def test_dists_as_published_equals_torchmetrics(monkeypatch, pairs, observe):
    if not asset_path("lpips-vgg").is_file():
        pytest.skip("lpips-vgg has not been fetched: tokbench weights get lpips-vgg")
    learned = dists_module.read_learned()
    network = their_dists(monkeypatch, read_judge("lpips-vgg")[0], learned["alpha"], learned["beta"])
    wanted = network(*(side[5:].float() / 255 for side in pairs))
    found = DISTS.create(CONTEXT).per_image(observe(pairs[0][5:], pairs[1][5:]))
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), atol=1e-5)


def test_the_learned_part_of_dists_is_checked(monkeypatch, tmp_path):
    learned = dists_module.read_learned()
    assert {name: tuple(value.shape) for name, value in learned.items()} == dict.fromkeys(("alpha", "beta"), (1, 1475, 1, 1))
    monkeypatch.setattr(dists_module, "_learned_path", lambda: tmp_path / "weights.pt")
    with pytest.raises(TokbenchError, match="torchmetrics installed carries no weights of DISTS; run: pip install --upgrade torchmetrics"):
        dists_module.read_learned()
    (tmp_path / "weights.pt").write_bytes(b"others")
    with pytest.raises(TokbenchError, match=r"have SHA-256 [0-9a-f]{12}, expected f5e65c96230b; reinstall torchmetrics"):
        dists_module.read_learned()
