"""Gumbel quantization: the golden of upstream with and without its noise, and gradients against the table written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tokbench.quantizers import slices
from tokbench.quantizers.gumbel import GumbelQuantizer


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def published(data: Any) -> GumbelQuantizer:
    quantizer = GumbelQuantizer(data.config["n_embed"], data.config["embed_dim"], kl_weight=data.config["kl_weight"])
    quantizer.load_state_dict(data.state)
    return quantizer


def test_golden_without_noise(golden: Any) -> None:
    data = golden("gumbel_taming")
    quantizer = published(data).eval()
    out = quantizer(data.rows("prequant"))
    assert torch.equal(out.codes.flatten(), data.io["indices_argmax"].flatten())
    torch.testing.assert_close(out.vectors, data.rows("codes"), atol=1e-6, rtol=0)
    assert torch.equal(quantizer.lookup(out.codes), data.rows("codes"))
    torch.testing.assert_close(quantizer.scores(data.rows("prequant")), data.rows("logits"), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.losses["kl"] / quantizer.kl_weight, data.io["kl"] / quantizer.kl_weight, atol=1e-5, rtol=0)


def test_golden_with_upstreams_noise(golden: Any) -> None:
    data = golden("gumbel_taming")
    out = published(data).train()(data.rows("prequant"), generator=generator(3))
    assert torch.equal(out.codes.flatten(), data.io["noisy_indices"].flatten())
    torch.testing.assert_close(out.vectors, data.rows("noisy_quant"), atol=1e-6, rtol=0)


@pytest.mark.parametrize("elements", [64, 2**20])
def test_values_and_gradients_equal_the_table_whatever_the_slices(monkeypatch: pytest.MonkeyPatch, elements: int) -> None:
    monkeypatch.setattr(slices, "ELEMENTS", elements)
    torch.manual_seed(0)
    quantizer = GumbelQuantizer(20, 5, kl_weight=0.3, temperature=0.7)
    vectors, upstream = torch.randn(2, 6, 5).requires_grad_(), torch.randn(2, 6, 5)
    out = quantizer(vectors, generator=generator(4))

    logits = F.linear(vectors, quantizer.proj.weight[:, :, 0, 0], quantizer.proj.bias)
    noise = -torch.empty(2, 20, 6).exponential_(generator=generator(4)).log().transpose(1, 2)
    soft = ((logits + noise) / 0.7).softmax(dim=-1)
    hard = F.one_hot(soft.argmax(dim=-1), 20).float()
    quantized = (hard - soft.detach() + soft) @ quantizer.embed.weight
    prior = logits.softmax(dim=-1)
    kl = 0.3 * (prior * (prior * 20).log()).sum(dim=-1).mean()

    assert torch.equal(out.codes.squeeze(-1), soft.argmax(dim=-1))
    everything = (vectors, quantizer.proj.weight, quantizer.proj.bias, quantizer.embed.weight)
    for mine, theirs, inputs in ((out.vectors, quantized, everything), (out.losses["kl"], kl, everything[:3])):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5)
        weight = upstream if mine.ndim else None
        expected = torch.autograd.grad(theirs, inputs, weight, retain_graph=True)
        for gradient, reference in zip(torch.autograd.grad(mine, inputs, weight, retain_graph=True), expected, strict=True):
            torch.testing.assert_close(gradient, reference, atol=1e-5, rtol=1e-4)


def test_codes_are_drawn_in_proportion_to_the_softmax() -> None:
    quantizer = GumbelQuantizer(4, 2)
    vectors = torch.tensor([[[0.8, -0.3]]]).expand(1, 20000, 2).contiguous()
    share = torch.bincount(quantizer(vectors, generator=generator()).codes.flatten(), minlength=4) / 20000
    torch.testing.assert_close(share, quantizer.scores(vectors[0, 0]).softmax(dim=0), atol=0.015, rtol=0)


def test_the_generator_decides_and_evaluation_does_not_ask_it() -> None:
    quantizer, vectors = GumbelQuantizer(50, 3), torch.randn(1, 40, 3, generator=generator())
    codes = [quantizer(vectors, generator=generator(seed)).codes for seed in (1, 1, 2)]
    assert torch.equal(codes[0], codes[1])
    assert not torch.equal(codes[0], codes[2])
    plain = quantizer.codes(vectors)
    assert torch.equal(plain.squeeze(-1), quantizer.scores(vectors).argmax(dim=-1))
    quantizer.eval()
    assert torch.equal(quantizer(vectors).codes, plain)
    assert torch.equal(quantizer(vectors, generator=generator(1)).codes, plain)


def test_training_without_a_generator_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pass a generator, or call eval\(\)"):
        GumbelQuantizer(4, 2)(torch.zeros(1, 3, 2))


def test_the_divergence_is_zero_for_uniform_scores_and_log_k_for_certain_ones() -> None:
    quantizer = GumbelQuantizer(8, 2, kl_weight=1.0).eval()
    with torch.no_grad():
        quantizer.proj.weight.zero_()
        quantizer.proj.bias.zero_()
    assert quantizer(torch.zeros(1, 3, 2)).losses["kl"].item() == pytest.approx(0.0, abs=1e-6)
    with torch.no_grad():
        quantizer.proj.bias[2] = 100.0
    assert quantizer(torch.zeros(1, 3, 2)).losses["kl"].item() == pytest.approx(2.0794415, abs=1e-5)


def test_names_and_shapes_are_those_of_the_published_file() -> None:
    shapes = {key: tuple(value.shape) for key, value in GumbelQuantizer(48, 12).state_dict().items()}
    assert shapes == {"proj.weight": (48, 12, 1, 1), "proj.bias": (48,), "embed.weight": (48, 12)}


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="must be positive, got 0"):
        GumbelQuantizer(4, 2, temperature=0)
