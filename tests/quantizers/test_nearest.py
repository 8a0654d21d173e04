"""The tiled searches against plain ones in double precision."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tokbench.quantizers import nearest
from tokbench.quantizers.nearest import highest_codes, nearest_codes


def distances(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Squared, in double precision, by subtraction: ``[N, K]``."""
    return (vectors.double()[:, None] - codebook.double()).square().sum(dim=2)


def assert_nearest(codes: Tensor, vectors: Tensor, codebook: Tensor) -> None:
    """Every code is as near as the nearest, up to single precision; where the runner-up is farther than that, it is the one."""
    table = distances(vectors, codebook)
    spread = table.max().item() + 1e-30
    chosen = table.gather(1, codes[:, None]).squeeze(1)
    assert bool((chosen - table.amin(dim=1) <= 1e-5 * spread).all())


def assert_lowest_copy(codes: Tensor, codebook: Tensor) -> None:
    copies = (codebook[codes][:, None] == codebook).all(dim=2)
    assert torch.equal(copies.int().argmax(dim=1), codes)


sizes = st.integers(1, 40)


@given(n=sizes, k=sizes, d=st.integers(1, 33), rows=sizes, columns=sizes, offset=st.sampled_from([0.0, 1e3]), seed=st.integers(0, 999))
def test_agrees_with_the_oracle(n: int, k: int, d: int, rows: int, columns: int, offset: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(n, d, generator=generator) + offset
    codebook = torch.randn(k, d, generator=generator) + offset
    assert_nearest(nearest_codes(vectors, codebook, rows=rows, columns=columns), vectors, codebook)


@given(n=sizes, distinct=sizes, d=st.integers(1, 33), rows=sizes, columns=sizes, seed=st.integers(0, 999))
def test_of_copies_the_first_is_chosen(n: int, distinct: int, d: int, rows: int, columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    codebook = torch.randn(distinct, d, generator=generator)[torch.randint(distinct, (3 * distinct,), generator=generator)]
    vectors = torch.randn(n, d, generator=generator)
    codes = nearest_codes(vectors, codebook, rows=rows, columns=columns)
    assert_lowest_copy(codes, codebook)
    assert_nearest(codes, vectors, codebook)


def test_a_negative_zero_is_a_copy_of_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    codebook = torch.randn(40, 17, generator=generator).repeat(3, 1)
    codebook[:, 5] = torch.where(torch.rand(120, generator=generator) < 0.5, 0.0, -0.0)
    codes = nearest_codes(torch.randn(500, 17, generator=generator), codebook, columns=7)
    assert_lowest_copy(codes, codebook)


@pytest.fixture
def by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small codebooks are searched as large ones are."""
    monkeypatch.setattr(nearest, "MANY", 1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("biased", [False, True])
@given(n=st.integers(1, 70), k=st.integers(1, 300), d=st.integers(1, 40), columns=st.integers(1, 200), seed=st.integers(0, 999))
def test_blocks_of_any_number_of_rows_agree_with_the_oracle(
    by_blocks: None, biased: bool, n: int, k: int, d: int, columns: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    codebook = torch.randn(k, d, generator=generator).repeat_interleave(2, dim=0)[:k]  # neighbours that are copies
    vectors = torch.randn(n, d, generator=generator)
    if not biased:
        codes = nearest_codes(vectors, codebook, rows=23, columns=columns)
        assert_nearest(codes, vectors, codebook)
        assert_lowest_copy(codes, codebook)
        return
    bias = torch.randn(k, generator=generator)
    table = vectors.double() @ codebook.double().T + bias.double()
    codes = highest_codes(vectors, codebook, bias, rows=23, columns=columns)
    assert bool((table.amax(dim=1) - table.gather(1, codes[:, None]).squeeze(1) <= 1e-5 * (1 + table.abs().max())).all())


def test_blocks_and_tiles_find_the_same_codes_in_a_large_codebook(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors, codebook = torch.randn(600, 8, generator=generator), torch.randn(9000, 8, generator=generator)
    codes = nearest_codes(vectors, codebook)
    assert torch.equal(codes, distances(vectors, codebook).argmin(dim=1))
    monkeypatch.setattr(nearest, "MANY", 10**9)
    assert torch.equal(nearest_codes(vectors, codebook), codes)


def test_biases_that_leave_one_row_are_obeyed(by_blocks: None) -> None:
    bias = torch.full((70,), -1e6)
    bias[69] = 0.0  # in a block that is not full
    assert highest_codes(torch.randn(9, 4), torch.randn(70, 4), bias).tolist() == [69] * 9


def test_rows_of_the_codebook_find_themselves() -> None:
    codebook = torch.randn(5000, 16, generator=torch.Generator().manual_seed(0)) + 1e3
    assert torch.equal(nearest_codes(codebook, codebook), torch.arange(5000))


def test_no_vectors_no_codes() -> None:
    assert nearest_codes(torch.zeros(0, 4), torch.zeros(3, 4)).shape == (0,)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_autocast_does_not_lower_the_precision(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors, codebook = torch.randn(200, 16, generator=generator).to(dtype), torch.randn(300, 16, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        codes = nearest_codes(vectors, codebook)
    assert torch.equal(codes, distances(vectors, codebook).argmin(dim=1))


@given(
    n=sizes,
    k=sizes,
    d=st.integers(1, 33),
    rows=sizes,
    columns=sizes,
    offset=st.sampled_from([0.0, 1e3]),
    biased=st.booleans(),
    seed=st.integers(0, 999),
)
def test_the_highest_product_agrees_with_the_oracle(
    n: int, k: int, d: int, rows: int, columns: int, offset: float, biased: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    vectors, codebook = torch.randn(n, d, generator=generator), torch.randn(k, d, generator=generator) + offset
    bias = torch.randn(k, generator=generator) if biased else None
    codes = highest_codes(vectors, codebook, bias, rows=rows, columns=columns)
    table = vectors.double() @ codebook.double().T + (0.0 if bias is None else bias.double())
    chosen = table.gather(1, codes[:, None]).squeeze(1)
    assert bool((table.amax(dim=1) - chosen <= 1e-5 * (1 + (table - table.mean(dim=1, keepdim=True)).abs().max())).all())


def test_of_copies_with_one_bias_the_first_is_chosen() -> None:
    generator = torch.Generator().manual_seed(0)
    codebook = torch.randn(40, 17, generator=generator).repeat(3, 1)
    vectors = torch.randn(500, 17, generator=generator)
    assert_lowest_copy(highest_codes(vectors, codebook, columns=7), codebook)
    bias = torch.zeros(120)
    bias[40:80] = 1.0
    codes = highest_codes(vectors, codebook, bias, columns=7)
    assert bool(((codes >= 40) & (codes < 80)).all())


def test_autocast_does_not_lower_the_precision_of_products() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors, codebook = torch.randn(200, 16, generator=generator), torch.randn(300, 16, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        codes = highest_codes(vectors, codebook)
    assert torch.equal(codes, (vectors.double() @ codebook.double().T).argmax(dim=1))


def test_memory_does_not_grow_with_vectors_times_codes() -> None:
    """The whole table of 2000 x 50000 scores would take 400 MB."""
    script = """
        import resource, torch
        from tokbench.quantizers.nearest import highest_codes, nearest_codes
        torch.set_num_threads(1)
        nearest_codes(torch.randn(8, 4), torch.randn(8, 4))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        nearest_codes(torch.randn(2000, 4), torch.randn(50_000, 4))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 100e6
