"""Figures against the packages they are usually taken with, as these are installed: same pictures, same weights, their own code."""

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch

from tokbench.bench.frechet import FeatureMoments, distance_of_moments
from tokbench.bench.metrics.dists import read_learned
from tokbench.bench.metrics.ssim import ssim
from tokbench.bench.psnr import psnr
from tokbench.nn.dists import CHANNELS, build_dists, dists_rows
from tokbench.nn.perceptual import CONVOLUTIONS, build_lpips, lpips_rows

ENOUGH, FEW = 1e-6, 1e-4
"""Share of a Fréchet distance that peers may be off by: with more samples than features, and with fewer, where they lose digits."""


SQUARE_ROOT = scipy.linalg.sqrtm


def with_disp(matrix, disp=True):
    """The square root of a matrix as scipy gave it until 1.17; later ones know no ``disp``, which two of the peers pass."""
    root = SQUARE_ROOT(matrix)
    return root if disp else (root, None)


def by_pytorch_fid(monkeypatch, *sides):
    package = pytest.importorskip("pytorch_fid.fid_score")
    monkeypatch.setattr(package.linalg, "sqrtm", with_disp)
    return package.calculate_frechet_distance(*sides[0], *sides[1])


def by_clean_fid(monkeypatch, *sides):
    package = pytest.importorskip("cleanfid.fid")
    monkeypatch.setattr(package.linalg, "sqrtm", with_disp)
    return package.frechet_distance(*sides[0], *sides[1])


def by_torch_fidelity(monkeypatch, *sides):
    package = pytest.importorskip("torch_fidelity.metric_fid")
    found = package.fid_statistics_to_metric(*(dict(zip(("mu", "sigma"), side, strict=True)) for side in sides), verbose=False)
    return found["frechet_inception_distance"]


def features(count, dim, seed=0):
    """Features as ReLUs leave them, all positive and correlated, and those of images that are a little off."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(dim, dim)) / math.sqrt(dim)
    before = np.maximum(rng.normal(0.3, 1, size=(count, dim)) @ mixing, 0)
    return before, np.maximum(before + 0.2 * rng.normal(size=(count, dim)) @ mixing, 0)


def ours(*sides):
    moments = []
    for side in sides:
        moments.append(FeatureMoments(side.shape[1]))
        moments[-1].update(side)
    return distance_of_moments(*moments)


PEERS = [by_pytorch_fid, by_clean_fid, by_torch_fidelity]


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize(("count", "dim", "tolerance"), [(900, 128, ENOUGH), (400, 64, ENOUGH), (100, 160, FEW)])
def test_frechet_distance_is_that_of_peers(monkeypatch, peer, count, dim, tolerance):
    pair = features(count, dim)
    stats = [(side.mean(axis=0), np.cov(side, rowvar=False)) for side in pair]
    assert peer(monkeypatch, *stats) == pytest.approx(ours(*pair), rel=tolerance)


@pytest.mark.parametrize(("count", "dim", "tolerance"), [(400, 64, ENOUGH), (100, 160, FEW)])
def test_frechet_distance_is_that_of_torchmetrics(count, dim, tolerance):
    package = pytest.importorskip("torchmetrics.image.fid")

    class Features(torch.nn.Module):
        num_features = dim

        def forward(self, images):
            return images

    metric = package.FrechetInceptionDistance(feature=Features()).set_dtype(torch.float64)
    pair = features(count, dim)
    for side, real in zip(pair, (True, False), strict=True):
        metric.update(torch.from_numpy(side), real=real)
    assert float(metric.compute()) == pytest.approx(ours(*pair), rel=tolerance)


@pytest.fixture(scope="module")
def pictures():
    """Smooth pictures, the same with noise, and one untouched: bytes ``[4, 3, 72, 90]``."""
    rng = np.random.default_rng(3)
    down, across = np.indices((72, 90))
    waves = rng.uniform(5, 20, size=(4, 3, 2, 1, 1))
    smooth = 127 + 90 * np.sin(down / waves[:, :, 0]) * np.cos(across / waves[:, :, 1])
    before = np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)
    after = np.clip(before + rng.normal(0, np.array([0, 5, 20, 60])[:, None, None, None], smooth.shape), 0, 255).astype(np.uint8)
    return torch.from_numpy(before), torch.from_numpy(after)


def random_backbone(net):
    """Weights of the convolutions of a backbone, under the names of the package ``lpips``."""
    widths = {"alex": (64, 192, 384, 256, 256), "vgg": CHANNELS[1:]}[net]
    kernels = {"alex": (11, 5, 3, 3, 3), "vgg": (3,) * 13}[net]
    generator, state, width = torch.Generator().manual_seed(0), {}, 3
    for (part, layer), kernel in zip(CONVOLUTIONS[net], kernels, strict=True):
        after = widths[part - 1]
        scale = math.sqrt(2 / (kernel**2 * width))
        state[f"net.slice{part}.{layer}.weight"] = scale * torch.randn(after, width, kernel, kernel, generator=generator)
        state[f"net.slice{part}.{layer}.bias"] = 0.1 * torch.randn(after, generator=generator)
        width = after
    return state


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_is_that_of_the_package_on_any_backbone(pictures, net):
    package = pytest.importorskip("lpips")
    with torch.device("meta"):  # of which the weights are not wanted
        theirs = package.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
    learned = torch.load(Path(package.__file__).parent / "weights" / "v0.1" / f"{net}.pth", map_location="cpu", weights_only=True)
    scaling = package.lpips.ScalingLayer().state_dict(prefix="scaling_layer.")
    state = random_backbone(net) | scaling | learned
    theirs.load_state_dict(state | {f"lins.{key[3:]}": value for key, value in learned.items()}, assign=True)
    one, other = (side.float() / 127.5 - 1 for side in pictures)
    with torch.no_grad():
        wanted = theirs.eval()(one, other).flatten()
    found = lpips_rows(build_lpips(net, state), one, other)
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-4, atol=1e-7)
    assert float(found[0]) == 0.0
    assert float(found[1:].min()) > 1e-3


def test_dists_is_that_of_its_authors(monkeypatch, pictures):
    package = pytest.importorskip("DISTS_pytorch.DISTS_pt")
    models = pytest.importorskip("torchvision.models")

    build = models.vgg16

    def untrained(pretrained):
        with torch.device("meta"):  # of which the classifier is not wanted
            return build(weights=None, init_weights=False)

    monkeypatch.setattr(package.models, "vgg16", untrained)
    theirs = package.DISTS().requires_grad_(False)  # with the weights of channels that its authors learned
    learned = read_learned()
    assert torch.equal(theirs.alpha.data, learned["alpha"])
    assert torch.equal(theirs.beta.data, learned["beta"])
    vgg = random_backbone("vgg")
    for part, layer in CONVOLUTIONS["vgg"]:
        own = {kind: vgg[f"net.slice{part}.{layer}.{kind}"] for kind in ("weight", "bias")}
        getattr(theirs, f"stage{part}").get_submodule(str(layer)).load_state_dict(own, assign=True)
    one, other = (side.float() / 255 for side in pictures)
    wanted = theirs(one, other)
    found = dists_rows(build_dists(vgg, learned["alpha"], learned["beta"]), one, other)
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), atol=1e-5)
    assert float(found[1:].min()) > 1e-4


def test_ssim_is_that_of_pytorch_msssim(pictures):
    package = pytest.importorskip("pytorch_msssim")
    one, other = (side.float() for side in pictures)
    wanted = package.ssim(one, other, data_range=255, size_average=False)  # whose window is of single precision
    np.testing.assert_allclose(ssim(*pictures).numpy(), wanted.numpy(), atol=1e-5)


def test_ssim_and_psnr_are_those_of_scikit_image(pictures):
    package = pytest.importorskip("skimage.metrics")
    one, other = (side.permute(0, 2, 3, 1).numpy() for side in pictures)
    like = {"data_range": 255, "channel_axis": 2, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    wanted = [package.structural_similarity(a, b, **like) for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(ssim(*pictures).numpy(), wanted, atol=1e-9)
    decibels = [package.peak_signal_noise_ratio(a, b, data_range=255) for a, b in zip(one[1:], other[1:], strict=True)]
    np.testing.assert_allclose(psnr(*pictures)[1:].numpy(), decibels, atol=1e-9)
