"""Lookup-free quantization: goldens of upstream, and entropies against all codes written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from einops import rearrange
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tokbench.quantizers.lfq import LookupFreeQuantizer


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def entropies_over_a_table(vectors: Tensor, bits: int, codebooks: int, temperature: float) -> tuple[Tensor, Tensor]:
    """Upstream's way: the distribution of every vector over every code."""
    table = 2.0 * ((torch.arange(2**bits)[:, None] >> torch.arange(bits)) & 1) - 1
    flat = rearrange(vectors, "b l (g k) -> (b l k) g", k=codebooks).double()
    logits = 2 * flat @ table.double().T / temperature
    p = logits.softmax(dim=1)
    mean = p.mean(dim=0)
    return -(p * logits.log_softmax(dim=1)).sum(dim=1).mean(), -(mean * (mean + 1e-5).log()).sum()


def test_golden(golden: Any) -> None:
    """kylesargent/FlowMo, which has it from Open-MAGVIT2."""
    data = golden("lfq_flowmo_openmagvit2")
    config, io = data.config, data.io
    quantizer = LookupFreeQuantizer(config["dim"], temperature=config["temperature"], entropy_weight=1.0, commitment_weight=1.0)
    out = quantizer(io["z"].transpose(1, 2))
    assert torch.equal(out.codes.flatten(), io["indices"])
    torch.testing.assert_close(out.vectors.transpose(1, 2), io["quant"], atol=1e-6, rtol=0)
    certain, used = quantizer.entropies(io["z"].transpose(1, 2))
    for mine, key in (
        (certain, "per_sample_entropy"),
        (used, "codebook_entropy"),
        (out.losses["entropy"], "entropy_aux_loss"),
        (out.losses["commitment"], "commitment"),
    ):
        torch.testing.assert_close(mine, io[key], atol=1e-5, rtol=0)


def test_golden_with_the_first_channel_highest(golden: Any) -> None:
    """lucidrains/vector-quantize-pytorch."""
    data = golden("lfq_lucidrains")
    config, io = data.config, data.io
    quantizer = LookupFreeQuantizer(
        config["dim"],
        entropy_weight=config["entropy_loss_weight"],
        commitment_weight=config["commitment_loss_weight"],
        diversity_weight=config["diversity_gamma"],
        temperature=1 / config["inv_temperature"],
        spherical=config["spherical"],
        bit_order="high",
        entropy_form="clamped",
    )
    out = quantizer(io["z"])
    assert torch.equal(out.codes.squeeze(-1), io["indices"])
    torch.testing.assert_close(out.vectors, io["quant_eval"], atol=1e-6, rtol=0)
    assert torch.equal(quantizer.lookup(out.codes), io["quant_eval"])
    certain, used = quantizer.entropies(io["z"])
    for mine, key in (
        (certain, "per_sample_entropy"),
        (used, "batch_entropy"),
        (out.losses["commitment"] / config["commitment_loss_weight"], "commitment"),
        (out.losses["entropy"] + out.losses["commitment"], "train_aux_loss"),
    ):
        torch.testing.assert_close(mine, io[key], atol=1e-5, rtol=0)


def test_golden_with_clamped_logarithms(golden: Any) -> None:
    """markweberdev/maskbit."""
    data = golden("lfq_maskbit")
    config = data.config["config"]
    quantizer = LookupFreeQuantizer(
        config["token_size"],
        entropy_weight=config["entropy_loss_weight"],
        commitment_weight=config["commitment_cost"],
        diversity_weight=config["entropy_gamma"],
        temperature=config["entropy_loss_temperature"],
        entropy_form="clamped",
    )
    out = quantizer(data.rows("prequant"))
    assert torch.equal(out.codes.flatten(), data.io["indices"].flatten().long())
    torch.testing.assert_close(out.vectors, data.rows("quant"), atol=1e-6, rtol=0)
    assert torch.equal(quantizer.lookup(out.codes), data.rows("codes_exact"))
    certain, used = quantizer.entropies(data.rows("prequant"))
    for mine, key in (
        (certain, "train_per_sample_entropy"),
        (used * config["entropy_gamma"], "train_avg_entropy"),
        (out.losses["entropy"], "train_entropy_loss"),
        (out.losses["commitment"], "eval_commitment_loss"),
        (out.losses["entropy"] + out.losses["commitment"], "train_quantizer_loss"),
    ):
        torch.testing.assert_close(mine, data.io[key], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("bits", "codebooks"), [(1, 1), (2, 3), (5, 2), (9, 2)])
@pytest.mark.parametrize("scale", [0.02, 1.0, 30.0])
def test_entropies_equal_those_over_all_codes(bits: int, codebooks: int, scale: float) -> None:
    vectors = scale * randn(2, 7, bits * codebooks)
    expected = entropies_over_a_table(vectors, bits, codebooks, 0.1)
    for mine, reference in zip(LookupFreeQuantizer(bits, codebooks).entropies(vectors), expected, strict=True):
        torch.testing.assert_close(mine.double(), reference, atol=2e-5, rtol=1e-5)


def test_gradients_of_the_entropies_equal_those_over_all_codes() -> None:
    mine, reference = (0.1 * randn(2, 5, 6)).requires_grad_(), (0.1 * randn(2, 5, 6)).requires_grad_()
    certain, used = LookupFreeQuantizer(3, 2).entropies(mine)
    (certain - used).backward()
    certain, used = entropies_over_a_table(reference, 3, 2, 0.1)
    (certain - used).backward()
    torch.testing.assert_close(mine.grad, reference.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 0.05])
@pytest.mark.parametrize("spherical", [False, True])
def test_clamped_entropies_are_taken_of_every_codebook(temperature: float, spherical: bool) -> None:
    bits, codebooks, scale = 6, 3, 0.7
    options: dict[str, Any] = {"temperature": temperature, "spherical": spherical, "scale": scale}
    quantizer = LookupFreeQuantizer(bits, codebooks, bit_order="high", entropy_form="clamped", **options)
    mine, reference = randn(2, 5, bits * codebooks).requires_grad_(), randn(2, 5, bits * codebooks).double().requires_grad_()
    table = scale * (2.0 * ((torch.arange(2**bits)[:, None] >> torch.arange(bits)) & 1) - 1).double()
    certain, used = [], []
    for part in reference.flatten(0, 1).split(bits, dim=1):
        if spherical:
            part = scale * part / part.norm(dim=1, keepdim=True)
        p = (2 * part @ (table / bits**0.5 if spherical else table).T / temperature).softmax(dim=1)
        certain.append(-(p * p.clamp_min(1e-5).log()).sum(dim=1).mean())
        used.append(-(p.mean(dim=0) * p.mean(dim=0).clamp_min(1e-5).log()).sum())
    expected = torch.stack(certain).mean(), torch.stack(used).mean()
    pair = quantizer.entropies(mine)
    for value, other in zip(pair, expected, strict=True):
        torch.testing.assert_close(value.double(), other, atol=1e-5, rtol=1e-5)
    (pair[0] - pair[1]).backward()
    (expected[0] - expected[1]).backward()
    torch.testing.assert_close(mine.grad.double(), reference.grad, atol=1e-5, rtol=1e-4)


def test_diversity_has_its_own_weight() -> None:
    vectors = randn(2, 7, 6)
    quantizer = LookupFreeQuantizer(6, entropy_weight=0.3, diversity_weight=2.5)
    certain, used = quantizer.entropies(vectors)
    torch.testing.assert_close(quantizer(vectors).losses["entropy"], 0.3 * (certain - 2.5 * used))


@given(st.integers(1, 14), st.integers(1, 4), st.sampled_from(["low", "high"]), st.integers(0, 1000))
def test_codes_and_signs_round_trip(bits: int, codebooks: int, bit_order: Any, seed: int) -> None:
    quantizer = LookupFreeQuantizer(bits, codebooks, bit_order=bit_order)
    codes = torch.randint(2**bits, (2, 3, codebooks), generator=torch.Generator().manual_seed(seed))
    signs = quantizer.lookup(codes)
    assert signs.shape == (2, 3, bits * codebooks)
    assert set(signs.unique().tolist()) <= {-1.0, 1.0}
    assert torch.equal(quantizer.codes(signs), codes)
    assert quantizer.codebook_sizes == (2**bits,) * codebooks


def test_the_first_channels_are_the_lowest_bits_of_all_codes() -> None:
    quantizer = LookupFreeQuantizer(2, 3)  # channels: bit 0 of codes 0, 1, 2, then bit 1
    vectors = torch.tensor([[[-1.0, 2.0, -3.0, 4.0, 0.0, -6.0]]])
    assert quantizer.codes(vectors).tolist() == [[[2, 1, 0]]]  # zero is negative


def test_with_the_order_reversed_a_code_owns_a_run_of_channels_the_first_the_highest_bit() -> None:
    quantizer = LookupFreeQuantizer(2, 3, bit_order="high")
    vectors = torch.tensor([[[-1.0, 2.0, 3.0, -4.0, 0.0, 6.0]]])
    assert quantizer.codes(vectors).tolist() == [[[1, 2, 1]]]


def test_on_the_sphere_codes_and_vectors_have_one_length() -> None:
    vectors = 5 * randn(2, 7, 8)
    quantizer = LookupFreeQuantizer(4, 2, bit_order="high", spherical=True, scale=0.5, commitment_weight=1.0)
    out = quantizer(vectors)
    torch.testing.assert_close(rearrange(out.vectors, "b l (k g) -> b l k g", k=2).norm(dim=-1), torch.full((2, 7, 2), 0.5))
    on_it = rearrange(vectors, "b l (k g) -> b l k g", k=2)
    on_it = rearrange(0.5 * on_it / on_it.norm(dim=-1, keepdim=True), "b l k g -> b l (k g)")
    torch.testing.assert_close(out.losses["commitment"], (on_it - quantizer.lookup(out.codes)).square().mean())


def test_gradient_passes_straight_through() -> None:
    vectors, upstream = randn(2, 4, 6).requires_grad_(), randn(2, 4, 6, seed=1)
    LookupFreeQuantizer(3, 2)(vectors).vectors.backward(upstream)
    assert torch.equal(vectors.grad, upstream)


@pytest.mark.parametrize(("bits", "codebooks"), [(0, 1), (63, 1), (4, 0)])
def test_impossible_codes_are_refused(bits: int, codebooks: int) -> None:
    with pytest.raises(ValueError, match="1 to 62 bits"):
        LookupFreeQuantizer(bits, codebooks)


def test_other_bad_settings_are_refused() -> None:
    for options in ({"temperature": 0.0}, {"scale": -1.0}):
        with pytest.raises(ValueError, match="must be positive"):
            LookupFreeQuantizer(4, **options)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"bit_order": "big"}, "bit_order is low or high, got 'big'"),
        ({"entropy_form": "none"}, "entropy_form is exact or clamped, got 'none'"),
    ],
)
def test_unknown_forms_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        LookupFreeQuantizer(4, **options)


@pytest.mark.parametrize(("codebooks", "spherical"), [(1, False), (3, False), (2, True)])
def test_against_the_library(codebooks: int, spherical: bool) -> None:
    library = pytest.importorskip("vector_quantize_pytorch")
    options: dict[str, Any] = {"entropy_loss_weight": 0.1, "diversity_gamma": 2.0, "commitment_loss_weight": 0.25}
    peer = library.LFQ(dim=5 * codebooks, codebook_size=32, num_codebooks=codebooks, spherical=spherical, **options)
    quantizer = LookupFreeQuantizer(
        5,
        codebooks,
        entropy_weight=0.1,
        diversity_weight=2.0,
        commitment_weight=0.25,
        temperature=0.2,
        bit_order="high",
        entropy_form="clamped",
        spherical=spherical,
    )
    vectors = randn(2, 20, 5 * codebooks)
    out = quantizer(vectors)
    quantized, codes, loss = peer.train()(vectors, inv_temperature=5.0)
    assert torch.equal(out.codes.flatten(), codes.flatten().long())
    torch.testing.assert_close(out.vectors, quantized, atol=1e-6, rtol=0)
    torch.testing.assert_close(out.losses["entropy"] + out.losses["commitment"], loss, atol=1e-5, rtol=0)
