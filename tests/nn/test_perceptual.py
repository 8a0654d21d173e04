"""LPIPS as a training loss: the distances and gradients of the package's own network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tokbench.images import to_float
from tokbench.nn import perceptual
from tokbench.nn.perceptual import LpipsDistance, build_lpips, byte_inputs, looked_up, lpips_rows
from tokbench.weights.assets import need_asset
from tokbench.weights.checkpoints import read_state


@pytest.fixture(scope="module")
def alex() -> dict[str, Tensor]:
    return read_state(need_asset("lpips-alex"))[0]


def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    a = torch.rand(3, 3, 64, 64, generator=generator) * 2 - 1
    return a, (a + 0.3 * torch.randn(a.shape, generator=generator)).clamp(-1, 1)


def test_distances_and_gradients_are_those_of_the_package(alex: dict[str, Tensor]) -> None:
    a, b = pair()
    reference = build_lpips("alex", alex)
    ours = LpipsDistance(build_lpips("alex", alex))
    mine, theirs = a.clone().requires_grad_(), a.clone().requires_grad_()
    distances = ours(mine, b)
    assert distances.shape == (3,)
    assert torch.allclose(distances, lpips_rows(reference, a, b), rtol=1e-5)
    distances.mean().backward()
    reference(theirs, b).mean().backward()
    assert mine.grad is not None
    assert theirs.grad is not None
    assert (mine.grad - theirs.grad).norm() < 1e-2 * theirs.grad.norm()


def test_rows_are_those_of_the_package_and_of_each_pair_alone(alex: dict[str, Tensor]) -> None:
    a, b = pair()
    network = build_lpips("alex", alex)
    rows = lpips_rows(network, a, b)
    with torch.no_grad():
        torch.testing.assert_close(rows, network(a.contiguous(), b.contiguous()).flatten(), rtol=1e-5, atol=1e-7)
    assert torch.equal(lpips_rows(network, a.flip(0), b.flip(0)).flip(0), rows)
    assert lpips_rows(network, a, a).tolist() == [0.0] * 3


def test_inputs_looked_up_for_bytes_are_those_of_floats(alex: dict[str, Tensor]) -> None:
    network = build_lpips("alex", alex)
    every = torch.arange(256, dtype=torch.uint8)
    images = torch.stack([every.view(16, 16), every.flip(0).view(16, 16), every.view(16, 16).T])[None].repeat(2, 1, 1, 1)
    levels = byte_inputs(network, to_float(every.view(256, 1, 1, 1).expand(256, 3, 1, 1)))
    found = looked_up(levels, images)
    assert torch.equal(found, network.scaling_layer(to_float(images)))
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_rows_do_not_depend_on_how_many_fit_the_caches(alex: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = pair()
    network = build_lpips("alex", alex)
    together = lpips_rows(network, a, b)
    monkeypatch.setitem(perceptual.PIXELS_AT_ONCE, "alex", 64 * 64)
    torch.testing.assert_close(lpips_rows(network, a, b), together, rtol=1e-5, atol=1e-7)


def test_no_gradient_reaches_the_target(alex: dict[str, Tensor]) -> None:
    a, b = pair()
    b.requires_grad_()
    LpipsDistance(build_lpips("alex", alex))(a.requires_grad_(), b).mean().backward()
    assert b.grad is None


def test_equal_images_have_a_finite_gradient(alex: dict[str, Tensor]) -> None:
    grey = torch.zeros(1, 3, 64, 64, requires_grad=True)
    distance = LpipsDistance(build_lpips("alex", alex))(grey, torch.zeros(1, 3, 64, 64))
    distance.mean().backward()
    assert distance.item() == 0
    assert torch.isfinite(grey.grad).all()


def test_autocast_moves_a_distance_by_less_than_two_per_cent(alex: dict[str, Tensor]) -> None:
    a, b = pair()
    distance = LpipsDistance(build_lpips("alex", alex))
    with torch.autocast("cpu", torch.bfloat16):
        half = distance(a, b)
    assert half.dtype == torch.float32
    assert torch.allclose(half, distance(a, b), rtol=0.02)
