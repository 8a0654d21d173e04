"""Lookup-free quantization: a golden of upstream, and entropies against all codes written out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from einops import rearrange
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
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


def test_golden(goldens: Path) -> None:
    folder = goldens / "quantizers" / "lfq_flowmo_openmagvit2"
    config, io = json.loads((folder / "config.json").read_text()), load_file(folder / "io.safetensors")
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


@given(st.integers(1, 14), st.integers(1, 4), st.integers(0, 1000))
def test_codes_and_signs_round_trip(bits: int, codebooks: int, seed: int) -> None:
    quantizer = LookupFreeQuantizer(bits, codebooks)
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


def test_gradient_passes_straight_through() -> None:
    vectors, upstream = randn(2, 4, 6).requires_grad_(), randn(2, 4, 6, seed=1)
    LookupFreeQuantizer(3, 2)(vectors).vectors.backward(upstream)
    assert torch.equal(vectors.grad, upstream)


@pytest.mark.parametrize(("bits", "codebooks"), [(0, 1), (63, 1), (4, 0)])
def test_impossible_codes_are_refused(bits: int, codebooks: int) -> None:
    with pytest.raises(ValueError, match="1 to 62 bits"):
        LookupFreeQuantizer(bits, codebooks)
