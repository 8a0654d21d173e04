"""Vector quantization: values, codes, gradients and loss forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tokbench.quantizers.base import straight_through
from tokbench.quantizers.vq import VectorQuantizer


def quantizer(loss_form: str = "paper", beta: float = 0.25) -> VectorQuantizer:
    torch.manual_seed(0)
    module = VectorQuantizer(8, 4, beta=beta, loss_form=loss_form)  # type: ignore[arg-type]
    torch.nn.init.normal_(module.embedding.weight)
    return module


@pytest.fixture
def vectors() -> Tensor:
    return torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1))


def test_lookup_returns_the_rows_themselves(vectors: Tensor) -> None:
    module = quantizer()
    codes = torch.arange(8).reshape(2, 4, 1)
    assert torch.equal(module.lookup(codes), module.embedding.weight.reshape(2, 4, 4))


def test_codes_name_the_vectors(vectors: Tensor) -> None:
    module = quantizer()
    out = module(vectors)
    assert out.codes.shape == (2, 5, 1)
    torch.testing.assert_close(out.vectors, module.lookup(out.codes), atol=1e-6, rtol=0)


def test_gradient_passes_straight_through(vectors: Tensor) -> None:
    vectors.requires_grad_()
    upstream = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(2))
    quantizer()(vectors).vectors.backward(upstream)
    assert torch.equal(vectors.grad, upstream)


def test_straight_through_gives_the_codebook_no_gradient(vectors: Tensor) -> None:
    module = quantizer()
    module(vectors.requires_grad_()).vectors.sum().backward()
    assert module.embedding.weight.grad is None
    assert straight_through(vectors, vectors.detach() + 1).grad_fn is not None


@pytest.mark.parametrize(
    ("loss_form", "codebook_weight", "commitment_weight"), [("paper", 1.0, 0.3), ("taming", 0.3, 1.0), ("commitment", 0.0, 0.3)]
)
def test_loss_forms(vectors: Tensor, loss_form: str, codebook_weight: float, commitment_weight: float) -> None:
    """Value and both gradients, against the formula written out."""
    module = quantizer(loss_form, beta=0.3)
    vectors.requires_grad_()
    out = module(vectors)
    loss = out.losses["codebook"]
    assert list(out.losses) == ["codebook"]

    rows = module.embedding.weight.detach()[out.codes.squeeze(-1)]
    error = rows - vectors.detach()
    torch.testing.assert_close(loss.detach(), (codebook_weight + commitment_weight) * error.square().mean())

    loss.backward()
    torch.testing.assert_close(vectors.grad, -2 * commitment_weight * error / error.numel())
    expected = torch.zeros(8, 4).index_add_(0, out.codes.flatten(), 2 * codebook_weight * error.reshape(-1, 4) / error.numel())
    gradient = module.embedding.weight.grad
    torch.testing.assert_close(torch.zeros(8, 4) if gradient is None else gradient, expected)


def test_half_precision_vectors_are_quantized_in_single(vectors: Tensor) -> None:
    out = quantizer()(vectors.bfloat16())
    assert out.vectors.dtype == torch.float32
