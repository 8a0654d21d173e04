"""SimVQ: a golden of upstream, losses and gradients written out, and the rotation trick against a rotation matrix."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tokbench.quantizers.rotation import rotate_through
from tokbench.quantizers.simvq import SimVQ


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rotation_trick", [False, True])
def test_golden(golden: Any, rotation_trick: bool) -> None:
    """lucidrains/vector-quantize-pytorch; the trick changes gradients, not values."""
    data = golden("simvq")
    config = data.config
    quantizer = SimVQ(
        config["codebook_size"],
        config["dim"],
        beta=config["input_to_quantize_commit_loss_weight"],
        commitment_weight=config["commitment_weight"],
        rotation_trick=rotation_trick,
    )
    quantizer.load_state_dict(data.state)
    out = quantizer(data.io["z"])
    assert torch.equal(out.codes.squeeze(-1), data.io["indices"])
    torch.testing.assert_close(out.vectors, data.io["quant"], atol=1e-6, rtol=0)
    torch.testing.assert_close(quantizer.codebook(), data.io["codebook"], atol=1e-6, rtol=0)
    torch.testing.assert_close(out.losses["codebook"], data.io["commit_loss"], atol=1e-5, rtol=0)


def test_only_the_map_learns_and_by_the_formula() -> None:
    quantizer, vectors = SimVQ(16, 4, frozen_dim=6, beta=0.3, commitment_weight=0.7), randn(2, 9, 4, seed=1).requires_grad_()
    assert [name for name, _ in quantizer.named_parameters()] == ["code_transform.weight"]
    assert sorted(quantizer.state_dict()) == ["code_transform.weight", "frozen_codebook"]
    out = quantizer(vectors)
    out.losses["codebook"].backward()

    frozen = quantizer.frozen_codebook[out.codes.squeeze(-1)].flatten(0, 1)
    weight = quantizer.code_transform.weight.detach()
    error = frozen @ weight.T - vectors.detach().flatten(0, 1)
    torch.testing.assert_close(out.losses["codebook"].detach(), 0.7 * 1.3 * error.square().mean())
    torch.testing.assert_close(quantizer.code_transform.weight.grad, 0.7 * 2 * error.T @ frozen / error.numel(), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(vectors.grad.flatten(0, 1), -0.7 * 0.3 * 2 * error / error.numel(), atol=1e-7, rtol=1e-4)


def test_a_map_of_ones_own() -> None:
    transform = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    quantizer, vectors = SimVQ(16, 4, frozen_dim=6, transform=transform), randn(2, 9, 4)
    out = quantizer(vectors)
    rows = transform(quantizer.frozen_codebook)
    assert torch.equal(out.codes.squeeze(-1), (vectors[..., None, :] - rows).square().sum(dim=-1).argmin(dim=-1))
    torch.testing.assert_close(quantizer.lookup(out.codes), rows[out.codes.squeeze(-1)], atol=1e-6, rtol=0)


def test_without_the_trick_the_gradient_passes_straight_through() -> None:
    vectors, upstream = randn(2, 9, 4).requires_grad_(), randn(2, 9, 4, seed=1)
    SimVQ(16, 4, rotation_trick=False)(vectors).vectors.backward(upstream)
    assert torch.equal(vectors.grad, upstream)


def turn(e: Tensor, q: Tensor) -> Tensor:
    """The matrix that turns e into the direction of q within their plane, by its angle, and stretches it to q's length."""
    u = e / e.norm()
    across = q - (q @ u) * u
    across = across / across.norm()
    cosine, sine = q @ u / q.norm(), q @ across / q.norm()
    plane = torch.stack([u, across], dim=1)
    within = torch.stack([torch.stack([cosine, -sine]), torch.stack([sine, cosine])])
    return q.norm() / e.norm() * (torch.eye(len(e)).double() + plane @ (within - torch.eye(2).double()) @ plane.T)


@pytest.mark.parametrize("dim", [2, 3, 8])
def test_the_trick_turns_gradients_by_the_transposed_rotation(dim: int) -> None:
    vectors, quantized, upstream = randn(2, 6, dim, seed=1).requires_grad_(), randn(2, 6, dim, seed=2), randn(2, 6, dim, seed=3)
    out = rotate_through(vectors, quantized)
    assert torch.equal(out, quantized)
    out.backward(upstream)
    for b in range(2):
        for i in range(6):
            matrix = turn(vectors[b, i].detach().double(), quantized[b, i].double())
            torch.testing.assert_close(matrix @ vectors[b, i].detach().double(), quantized[b, i].double(), atol=1e-6, rtol=1e-6)
            torch.testing.assert_close(vectors.grad[b, i].double(), matrix.T @ upstream[b, i].double(), atol=1e-4, rtol=1e-4)


def test_the_trick_gives_the_code_no_gradient_and_is_part_of_simvq() -> None:
    quantizer, vectors, upstream = SimVQ(16, 4), randn(2, 9, 4).requires_grad_(), randn(2, 9, 4, seed=1)
    out = quantizer(vectors)
    out.vectors.backward(upstream)
    assert quantizer.code_transform.weight.grad is None
    alone = vectors.detach().clone().requires_grad_()
    rotate_through(alone, quantizer.lookup(out.codes)).backward(upstream)
    assert torch.equal(vectors.grad, alone.grad)


def test_without_a_direction_the_trick_passes_gradients_on() -> None:
    vectors = torch.tensor([[0.0, 0.0], [1.0, 2.0], [1.0, 2.0]]).requires_grad_()
    quantized = torch.tensor([[3.0, 4.0], [0.0, 0.0], [-2.0, -4.0]])  # the last is opposite: no plane, but a direction
    upstream = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    out = rotate_through(vectors, quantized)
    assert torch.equal(out, quantized)
    out.backward(upstream)
    assert torch.equal(vectors.grad[:2], upstream[:2])
    assert bool(torch.isfinite(vectors.grad).all())


@pytest.mark.parametrize("rotation_trick", [False, True])
def test_against_the_library(rotation_trick: bool) -> None:
    peer = pytest.importorskip("vector_quantize_pytorch").SimVQ(8, 32, rotation_trick=rotation_trick, frozen_codebook_dim=5)
    quantizer = SimVQ(32, 8, frozen_dim=5, rotation_trick=rotation_trick)
    quantizer.load_state_dict(peer.state_dict())
    vectors, upstream = randn(2, 50, 8).requires_grad_(), randn(2, 50, 8, seed=1)
    out = quantizer(vectors)
    quantized, codes, loss = peer(vectors)
    assert torch.equal(out.codes.squeeze(-1), codes)
    torch.testing.assert_close(out.vectors, quantized, atol=1e-6, rtol=0)
    torch.testing.assert_close(out.losses["codebook"], loss, atol=1e-5, rtol=0)
    (mine,), (theirs,) = (torch.autograd.grad(value, vectors, upstream) for value in (out.vectors, quantized))
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)
