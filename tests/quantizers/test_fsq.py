"""Finite scalar quantization: goldens of upstream, the packing written out, the bound's gradient."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokbench.quantizers.fsq import FiniteScalarQuantizer


@pytest.mark.parametrize("name", ["fsq_a", "fsq_sym"])
def test_golden(golden: Any, name: str) -> None:
    """lucidrains/vector-quantize-pytorch, with the codebook of all codes."""
    data = golden(name)
    quantizer = FiniteScalarQuantizer(data.config["levels"], preserve_symmetry=data.config["preserve_symmetry"])
    out = quantizer(data.io["z"])
    assert torch.equal(out.codes.squeeze(-1), data.io["indices"])
    torch.testing.assert_close(out.vectors, data.io["quant"], atol=1e-6, rtol=0)
    assert out.losses == {}
    size = len(data.io["implicit_codebook"])
    assert quantizer.codebook_sizes == (size,)
    torch.testing.assert_close(quantizer.lookup(torch.arange(size)[None, :, None])[0], data.io["implicit_codebook"], atol=1e-6, rtol=0)


def test_golden_of_cosmos(golden: Any) -> None:
    data = golden("fsq_cosmos")
    quantizer = FiniteScalarQuantizer(data.config["config"]["levels"])
    out = quantizer(data.rows("prequant"))
    assert quantizer.codebook_sizes == (64000,)
    assert torch.equal(out.codes.flatten(), data.io["indices"].flatten().long())
    torch.testing.assert_close(out.vectors, data.rows("quant"), atol=1e-6, rtol=0)
    assert torch.equal(quantizer.lookup(out.codes), data.rows("codes_exact"))


levels = st.lists(st.integers(3, 9), min_size=1, max_size=5)


@given(levels, st.integers(1, 3), st.booleans(), st.integers(0, 999))
def test_codes_and_values_round_trip(levels: list[int], codebooks: int, preserve_symmetry: bool, seed: int) -> None:
    """A value is within the bound of its own digit, so quantizing what brings it about gives it back."""
    quantizer = FiniteScalarQuantizer(levels, codebooks, preserve_symmetry=preserve_symmetry)
    size = math.prod(levels)
    codes = torch.randint(size, (2, 4, codebooks), generator=torch.Generator().manual_seed(seed))
    values = quantizer.lookup(codes)
    assert quantizer.codebook_sizes == (size,) * codebooks
    assert values.shape == (2, 4, len(levels) * codebooks)
    assert float(values.abs().max()) <= 1.0
    for k in range(codebooks):
        for i, count in enumerate(levels):
            digits = codes[..., k] // math.prod(levels[:i]) % count
            expected = 2 * digits / (count - 1) - 1 if preserve_symmetry else (digits - count // 2) / (count // 2)
            torch.testing.assert_close(values[..., k * len(levels) + i], expected, atol=1e-6, rtol=0)


@given(levels, st.booleans(), st.integers(0, 999))
def test_the_nearest_allowed_value_of_the_bounded_channel(levels: list[int], preserve_symmetry: bool, seed: int) -> None:
    vectors = 2 * torch.randn(1, 16, len(levels), generator=torch.Generator().manual_seed(seed))
    out = FiniteScalarQuantizer(levels, preserve_symmetry=preserve_symmetry)(vectors)
    for i, count in enumerate(levels):
        offset = 0.0 if preserve_symmetry or count % 2 else 0.5
        half = (count - 1) * (1.0 if preserve_symmetry else 1.001) / 2
        for x, quantized in zip(vectors[0, :, i].tolist(), out.vectors[0, :, i].tolist(), strict=True):
            place = math.tanh(x + math.atanh(offset / half)) * half - offset
            unit = (count - 1) / 2 if preserve_symmetry else count // 2
            assert abs(quantized * unit - place) <= 0.5 + 1e-4


def test_two_levels_are_signs() -> None:
    quantizer = FiniteScalarQuantizer([2, 2, 2], preserve_symmetry=True)
    out = quantizer(torch.tensor([[[-0.3, 0.2, 5.0]]]))
    assert out.vectors.tolist() == [[[-1.0, 1.0, 1.0]]]
    assert out.codes.tolist() == [[[6]]]


@pytest.mark.parametrize("preserve_symmetry", [False, True])
def test_the_gradient_is_that_of_the_bound(preserve_symmetry: bool) -> None:
    quantizer = FiniteScalarQuantizer([8, 5, 4], preserve_symmetry=preserve_symmetry)
    vectors = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    upstream = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(1))
    quantizer(vectors).vectors.backward(upstream)
    x = vectors.detach().double()
    for i, count in enumerate((8, 5, 4)):
        half, offset = (count - 1) * 1.001 / 2, 0.5 if count % 2 == 0 else 0.0
        shift, slope = (0.0, 1.0) if preserve_symmetry else (math.atanh(offset / half), half / (count // 2))
        expected = upstream[..., i] * slope * (1 - torch.tanh(x[..., i] + shift) ** 2)
        torch.testing.assert_close(vectors.grad[..., i].double(), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("levels", "codebooks", "message"),
    [([], 1, "at least 3 levels"), ([8, 2], 1, "at least 3 levels"), ([8] * 21, 1, "63 bits"), ([8], 0, "at least one code")],
)
def test_impossible_levels_are_refused(levels: list[int], codebooks: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FiniteScalarQuantizer(levels, codebooks)


def test_one_level_is_refused_with_symmetry_too() -> None:
    with pytest.raises(ValueError, match="or 2 with preserve_symmetry"):
        FiniteScalarQuantizer([1, 4], preserve_symmetry=True)


@pytest.mark.parametrize(("levels", "codebooks", "preserve_symmetry"), [([7, 5, 5], 1, False), ([2, 2, 3], 2, True), ([16, 3], 1, False)])
def test_against_the_library(levels: list[int], codebooks: int, preserve_symmetry: bool) -> None:
    peer = pytest.importorskip("vector_quantize_pytorch").FSQ(levels, num_codebooks=codebooks, preserve_symmetry=preserve_symmetry)
    vectors = 2 * torch.randn(2, 50, len(levels) * codebooks, generator=torch.Generator().manual_seed(0))
    out = FiniteScalarQuantizer(levels, codebooks, preserve_symmetry=preserve_symmetry)(vectors)
    quantized, codes = peer(vectors)
    assert torch.equal(out.codes.flatten(), codes.flatten().long())
    torch.testing.assert_close(out.vectors, quantized, atol=1e-6, rtol=0)
