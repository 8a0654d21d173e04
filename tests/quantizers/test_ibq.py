"""Index backpropagation: goldens of upstream, and gradients against the one-hot table written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from tokbench.quantizers import slices
from tokbench.quantizers.ibq import IndexBackpropagationQuantizer


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def close(actual: Tensor, expected: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=1e-5, check_stride=False)


def test_golden(golden: Any) -> None:
    """TencentARC/SEED-Voken, the quantizer alone, with the gradients of the summed output."""
    data = golden("ibq")
    quantizer = IndexBackpropagationQuantizer(data.config["n_e"], data.config["e_dim"], beta=data.config["beta"], entropy_weight=1.0)
    quantizer.load_state_dict(data.state)
    vectors = data.rows("z").requires_grad_()
    out = quantizer(vectors)
    assert torch.equal(out.codes.flatten(), data.io["indices"])
    close(out.vectors, data.rows("quant"), 1e-6)
    certain, used = quantizer.entropies(vectors)
    for value, key in ((out.losses["codebook"], "loss_0"), (certain, "loss_1"), (used, "loss_2"), (out.losses["entropy"], "loss_3")):
        close(value, data.io[key])
    out.vectors.sum().backward()
    close(vectors.grad, data.rows("grad_z_of_quant_sum"))
    close(quantizer.embedding.weight.grad, data.io["grad_codebook_of_quant_sum"])


def test_golden_of_the_tokenizer(golden: Any) -> None:
    data = golden("ibq_tokenizer")
    config = data.config["config"]
    quantizer = IndexBackpropagationQuantizer(config["n_embed"], config["embed_dim"], entropy_weight=0.05)
    quantizer.load_state_dict(data.state)
    out = quantizer(data.rows("prequant"))
    assert torch.equal(out.codes.flatten(), data.io["indices"])
    close(out.vectors, data.rows("quant"), 1e-6)
    assert torch.equal(quantizer.lookup(out.codes), data.rows("codes_exact"))
    certain, used = quantizer.entropies(data.rows("prequant"))
    close(out.losses["codebook"], data.io["quant_loss"])
    close(certain, data.io["sample_entropy"])
    close(used, data.io["avg_entropy"])
    close(out.losses["entropy"], 0.05 * data.io["entropy_loss"])


def over_the_table(vectors: Tensor, codebook: Tensor, beta: float, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Quantized vectors and both losses, by one-hot tables of all pairs."""
    logits = vectors @ codebook.T
    soft = logits.softmax(dim=-1)
    hard = F.one_hot(logits.argmax(dim=-1), len(codebook)).to(soft)
    quantized, rows = (hard + soft - soft.detach()) @ codebook, hard @ codebook
    loss = (quantized - vectors).square().mean() + (rows.detach() - vectors).square().mean()
    loss = loss + beta * (rows - vectors.detach()).square().mean()
    p = (logits / temperature).softmax(dim=-1)
    mean = p.mean(dim=(0, 1))
    return quantized, loss, -(p * p.clamp_min(1e-300).log()).sum(dim=-1).mean() + (mean * (mean + 1e-5).log()).sum()


@pytest.mark.parametrize("elements", [64, 2**20])
def test_values_and_gradients_equal_the_table_whatever_the_slices(monkeypatch: pytest.MonkeyPatch, elements: int) -> None:
    monkeypatch.setattr(slices, "ELEMENTS", elements)
    quantizer = IndexBackpropagationQuantizer(40, 6, beta=0.3, entropy_weight=0.2, entropy_temperature=0.5)
    with torch.no_grad():
        quantizer.embedding.weight.copy_(randn(40, 6, seed=1))
    vectors, upstream = randn(2, 9, 6).requires_grad_(), randn(2, 9, 6, seed=2)
    out = quantizer(vectors)
    table, codebook = vectors.detach().double().requires_grad_(), quantizer.embedding.weight.detach().double().requires_grad_()
    quantized, loss, entropy = over_the_table(table, codebook, 0.3, 0.5)
    for mine, theirs in (
        ((out.vectors * upstream).sum(), (quantized * upstream).sum()),
        (out.losses["codebook"], loss),
        (out.losses["entropy"], 0.2 * entropy),
    ):
        close(mine.double(), theirs)
        gradients = torch.autograd.grad(mine, (vectors, quantizer.embedding.weight), retain_graph=True)  # and again: they are recomputed
        again = torch.autograd.grad(mine, (vectors, quantizer.embedding.weight), retain_graph=True)
        expected = torch.autograd.grad(theirs, (table, codebook), retain_graph=True)
        for one, other, reference in zip(gradients, again, expected, strict=True):
            assert torch.equal(one, other)
            close(one.double(), reference)


def test_every_row_gets_a_gradient() -> None:
    quantizer = IndexBackpropagationQuantizer(40, 6)
    out = quantizer(0.1 * randn(1, 4, 6))
    out.vectors.square().sum().backward()
    assert bool((quantizer.embedding.weight.grad.abs().sum(dim=1) > 0).all())
    assert len(out.codes.unique()) <= 4


def test_the_longest_row_may_win_over_the_nearest() -> None:
    quantizer = IndexBackpropagationQuantizer(2, 2)
    with torch.no_grad():
        quantizer.embedding.weight.copy_(torch.tensor([[1.0, 0.0], [9.0, 9.0]]))
    assert quantizer.codes(torch.tensor([[[1.0, 0.1]]])).item() == 1


def test_no_entropy_without_a_weight() -> None:
    assert list(IndexBackpropagationQuantizer(4, 2, entropy_weight=0.0)(randn(1, 3, 2)).losses) == ["codebook"]


def test_autocast_does_not_lower_the_precision() -> None:
    quantizer, vectors = IndexBackpropagationQuantizer(64, 8), randn(2, 32, 8)
    plain = quantizer(vectors)
    with torch.autocast("cpu", torch.bfloat16):
        out = quantizer(vectors)
    assert torch.equal(out.codes, plain.codes)
    for name, loss in out.losses.items():
        assert torch.equal(loss, plain.losses[name])


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="must be positive, got 0"):
        IndexBackpropagationQuantizer(4, 2, entropy_temperature=0)


def test_a_map_of_features_is_read_row_by_row(golden: Any) -> None:
    """The golden's flat order is that of the sequence."""
    data = golden("ibq")
    assert torch.equal(data.rows("z")[0, 1], data.io["z"][0, :, 0, 1])
    assert rearrange(data.io["indices"], "(b l) -> b l", b=2).shape == data.rows("z").shape[:2]
