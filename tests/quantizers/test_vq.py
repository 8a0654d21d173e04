"""Vector quantization: values, codes, gradients, loss forms and the cosine form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
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


def test_golden_of_the_cosine_form(golden: Any) -> None:
    """FoundationVision/LlamaGen, whose stored rows are not of length 1."""
    data = golden("vq_llamagen")
    config = data.config["model_args"]
    module = VectorQuantizer(
        config["codebook_size"],
        config["codebook_embed_dim"],
        beta=config["commit_loss_beta"],
        cosine=config["codebook_l2_norm"],
        entropy_weight=config["entropy_loss_ratio"],
    )
    module.load_state_dict(data.state)
    out = module(data.rows("prequant"))
    assert torch.equal(out.codes.flatten(), data.io["indices"])
    torch.testing.assert_close(out.vectors, data.rows("quant"), atol=1e-6, rtol=0)
    torch.testing.assert_close(module.lookup(out.codes), data.rows("codes_exact"), atol=1e-6, rtol=0)
    torch.testing.assert_close(out.losses["codebook"], data.io["train_vq_loss"] + data.io["train_commit_loss"], atol=1e-5, rtol=0)
    torch.testing.assert_close(out.losses["entropy"], data.io["train_entropy_loss"], atol=1e-5, rtol=0)


def test_the_cosine_form_is_the_plain_one_on_the_sphere(vectors: Tensor) -> None:
    """Codes, vectors, losses and all gradients, with the normalisation outside."""
    cosine, plain = VectorQuantizer(8, 4, cosine=True, entropy_weight=0.1), quantizer()
    with torch.no_grad():
        cosine.embedding.weight.copy_(plain.embedding.weight)
    mine, outside = vectors.clone().requires_grad_(), vectors.clone().requires_grad_()
    rows = plain.embedding.weight.detach().clone().requires_grad_()
    out = cosine(mine)

    z, e = F.normalize(outside, dim=-1), F.normalize(rows, dim=-1)
    distances = (z[..., None, :] - e).square().sum(dim=-1)
    codes = distances.argmin(dim=-1)
    quantized = z + (e[codes] - z).detach()
    p = (-distances / 0.01).softmax(dim=-1)
    mean = p.mean(dim=(0, 1))
    entropy = -(p * (-distances / 0.01).log_softmax(dim=-1)).sum(dim=-1).mean() + (mean * (mean + 1e-5).log()).sum()
    loss = (e[codes] - z.detach()).square().mean() + 0.25 * (e[codes].detach() - z).square().mean() + 0.1 * entropy

    assert torch.equal(out.codes.squeeze(-1), codes)
    torch.testing.assert_close(out.losses["codebook"] + out.losses["entropy"], loss, atol=1e-5, rtol=1e-5)
    upstream = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(2))
    ((out.vectors * upstream).sum() + out.losses["codebook"] + out.losses["entropy"]).backward()
    ((quantized * upstream).sum() + loss).backward()
    torch.testing.assert_close(mine.grad, outside.grad, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(cosine.embedding.weight.grad, rows.grad, atol=1e-5, rtol=1e-4)


def test_the_entropy_is_of_squared_distances(vectors: Tensor) -> None:
    """Rows of different lengths: their squares count."""
    module = VectorQuantizer(8, 4, entropy_weight=1.0, entropy_temperature=2.0)
    with torch.no_grad():
        module.embedding.weight.copy_(quantizer().embedding.weight)
    p = (-(vectors[..., None, :] - module.embedding.weight).square().sum(dim=-1) / 2.0).softmax(dim=-1)
    mean = p.mean(dim=(0, 1))
    certain, used = module.entropies(vectors)
    torch.testing.assert_close(certain, -(p * p.log()).sum(dim=-1).mean(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(used, -(mean * (mean + 1e-5).log()).sum(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(module(vectors).losses["entropy"], certain - used)


def test_a_cosine_codebook_starts_at_length_one() -> None:
    torch.testing.assert_close(VectorQuantizer(8, 4, cosine=True).embedding.weight.norm(dim=1), torch.ones(8))


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="entropy_temperature must be positive, got 0"):
        VectorQuantizer(8, 4, entropy_temperature=0)


@pytest.mark.usefixtures("unchecked_types")
def test_an_unknown_loss_form_is_refused() -> None:
    with pytest.raises(ValueError, match=r"paper, taming or commitment, got 'legacy'"):
        quantizer("legacy")
