"""Soft assignments a slice at a time against the whole table."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tokbench.quantizers import slices
from tokbench.quantizers.entropy import bit_assignments, clamped_log, entropy, offset_log, soft_assignments
from tokbench.quantizers.slices import over_slices


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("elements", [1, 100, 2**20])
@pytest.mark.parametrize("log", [None, clamped_log, offset_log])
@pytest.mark.parametrize("biased", [False, True])
def test_slices_equal_the_table(monkeypatch: pytest.MonkeyPatch, elements: int, log: object, biased: bool) -> None:
    monkeypatch.setattr(slices, "ELEMENTS", elements)
    inputs = [randn(23, 4).requires_grad_(), 4 * randn(30, 4, seed=1).requires_grad_(), randn(30, seed=2).requires_grad_()][: 2 + biased]
    certain, mean = soft_assignments(*inputs, log=log)  # type: ignore[arg-type]

    doubled = [tensor.detach().double().requires_grad_() for tensor in inputs]
    p = (doubled[0] @ doubled[1].T + (doubled[2] if biased else 0.0)).softmax(dim=1)
    logarithm = {None: p.log(), clamped_log: p.clamp_min(1e-5).log(), offset_log: (p + 1e-5).log()}[log]  # type: ignore[index]
    expected = -(p * logarithm).sum(dim=1).mean()
    torch.testing.assert_close(certain.double(), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mean.double(), p.mean(dim=0), atol=1e-6, rtol=1e-5)

    weight = randn(30, seed=3)
    gradients = torch.autograd.grad(certain + (mean * weight).sum(), inputs)
    references = torch.autograd.grad(expected + (p.mean(dim=0) * weight).sum(), doubled)
    for gradient, reference in zip(gradients, references, strict=True):
        torch.testing.assert_close(gradient.double(), reference, atol=1e-5, rtol=1e-4)


def test_entropies_of_known_distributions() -> None:
    p = torch.tensor([[0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0]])
    for log in (clamped_log, offset_log):
        torch.testing.assert_close(entropy(p, log), torch.tensor([1.3862944, 0.0]), atol=1e-4, rtol=0)


def test_bits_make_the_codes_in_their_order() -> None:
    logits = randn(50, 5)
    certain, mean = bit_assignments(logits)
    on = logits.double().sigmoid()
    table = torch.ones(50, 32).double()
    for code in range(32):
        for bit in range(5):
            table[:, code] *= on[:, bit] if code >> bit & 1 else 1 - on[:, bit]
    torch.testing.assert_close(mean.double(), table.mean(dim=0), atol=1e-7, rtol=1e-5)
    torch.testing.assert_close(certain.double(), -(table * table.log()).sum(dim=1).mean(), atol=1e-5, rtol=1e-5)


def test_slices_cover_all_rows_once_and_none_gives_one_empty_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "ELEMENTS", 30)
    rows, other = torch.arange(8.0), torch.arange(8.0) * 10
    parts = list(over_slices(lambda a, b: (a, a + b), rows, other, width=10))
    assert [len(part[0]) for part in parts] == [3, 3, 2]
    assert torch.equal(torch.cat([part[1] for part in parts]), rows * 11)
    assert [len(part[0]) for part in over_slices(lambda a: (a,), rows[:0], width=10)] == [0]


def test_the_table_is_not_kept_for_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "ELEMENTS", 10 * 500)
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel()
        return tensor

    vectors, weight = randn(200, 4).requires_grad_(), randn(500, 4, seed=1).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        certain, mean = soft_assignments(vectors, weight)
        loss = certain + mean.square().sum()
    assert kept < 200 * 500 / 4
    loss.backward()
    assert bool(torch.isfinite(weight.grad).all())
