"""The range coder: what goes in comes out, in hardly more bits than the symbols are worth."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokbench.feed.probe.range_coder import TOTAL_BITS, RangeDecoder, RangeEncoder, cumulative


def encode(symbols: list[int], tables: list[np.ndarray]) -> bytes:
    encoder = RangeEncoder()
    for symbol, sums in zip(symbols, tables, strict=True):
        encoder.put(int(sums[symbol]), int(sums[symbol + 1]))
    return encoder.finish()


def decode(data: bytes, tables: list[np.ndarray]) -> list[int]:
    decoder = RangeDecoder(data)
    return [decoder.get(sums) for sums in tables]


def worth(symbols: list[int], tables: list[np.ndarray]) -> float:
    """Bits."""
    return math.fsum(TOTAL_BITS - math.log2(int(sums[symbol + 1] - sums[symbol])) for symbol, sums in zip(symbols, tables, strict=True))


@given(st.integers(0, 2**32), st.integers(0, 300), st.integers(2, 40), st.sampled_from([0.02, 0.3, 3.0]))
def test_symbols_come_back_and_take_what_they_are_worth(seed: int, count: int, size: int, evenness: float) -> None:
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet([evenness] * size, count)
    tables = list(cumulative(shares))
    unlikely = rng.random(count) < 0.1  # also symbols that hardly ever come
    symbols = [int(rng.integers(size) if odd else rng.choice(size, p=row / row.sum())) for odd, row in zip(unlikely, shares, strict=True)]
    data = encode(symbols, tables)
    assert decode(data, tables) == symbols
    assert worth(symbols, tables) - 1e-9 <= 8 * len(data) <= worth(symbols, tables) + 9 + 1e-6 * count


@pytest.mark.parametrize("symbol", [0, 1, 2])
def test_long_runs_carry_through_all_bytes(symbol: int) -> None:
    """Runs of the last symbol fill the written bytes with ones; a carry then runs back through all of them."""
    sums = np.array([0, 1, (1 << TOTAL_BITS) - 1, 1 << TOTAL_BITS])
    symbols = [2] * 60 + [symbol] * 3 + [1] * 4000 + [2, 0, 2] + [1] * 5
    data = encode(symbols, [sums] * len(symbols))
    assert decode(data, [sums] * len(symbols)) == symbols
    assert worth(symbols, [sums] * len(symbols)) <= 8 * len(data) <= worth(symbols, [sums] * len(symbols)) + 10


def test_carries_happen() -> None:
    """Two symbols that together straddle a byte: without the carry this would not come back."""
    half = np.array([0, (1 << 31) - 1, (1 << 31) + 1, 1 << 32])
    for seed in range(200):
        symbols = np.random.default_rng(seed).choice([0, 1, 2], p=[0.1, 0.8, 0.1], size=40).tolist()
        assert decode(encode(symbols, [half] * 40), [half] * 40) == symbols


def test_nothing_takes_nothing() -> None:
    assert encode([], []) == b""


def test_no_file_is_the_begin_of_another() -> None:
    """And whatever stands behind one, it reads the same: its length carries no bits."""
    tables = list(cumulative(np.array([[0.5, 0.25, 0.25], [0.9, 0.05, 0.05], [0.001, 0.499, 0.5], [1 / 3] * 3])))
    files = {symbols: encode(list(symbols), tables) for symbols in product(range(3), repeat=4)}
    assert sum(2.0 ** (-8 * len(data)) for data in files.values()) <= 1
    for symbols, data in files.items():
        assert all(other == symbols or not found.startswith(data) for other, found in files.items())
        for behind in (b"", b"\xff" * 9, b"\x00\x01"):
            assert decode(data + behind, tables) == list(symbols)


@given(st.integers(0, 2**32), st.integers(2, 5000))
def test_frequencies_are_whole_positive_and_add_up(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(3, size)) * rng.choice([0.1, 5.0, 300.0])
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    sums = cumulative(shares)
    assert (sums[:, 0] == 0).all()
    assert (sums[:, -1] == 1 << TOTAL_BITS).all()
    frequencies = np.diff(sums, axis=1)
    assert frequencies.min() >= 1
    np.testing.assert_allclose(frequencies / 2.0**TOTAL_BITS, shares, atol=2 * size / 2.0**TOTAL_BITS)


@pytest.mark.parametrize("shares", [[0.5, np.nan], [1.5, -0.5], [np.inf, 1.0], [0.0, 0.0]])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_is_no_distribution_is_refused(shares: list[float]) -> None:
    with pytest.raises(ValueError, match=r"finite and not negative|add up"):
        cumulative(np.array(shares))


def test_too_many_symbols_are_refused() -> None:
    with pytest.raises(ValueError, match="too many"):
        cumulative(np.broadcast_to(np.float64(1e-8), (1 << 25,)))


@pytest.mark.parametrize(("start", "stop"), [(3, 3), (5, 4), (-1, 2), (0, (1 << TOTAL_BITS) + 1)])
def test_intervals_that_are_none_are_refused(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="start < stop"):
        RangeEncoder().put(start, stop)


def test_other_data_are_noticed_or_give_other_symbols() -> None:
    tables = list(cumulative(np.random.default_rng(0).dirichlet([0.2] * 9, 100)))
    symbols = [0] * 100
    data = bytearray(encode(symbols, tables))
    data[3] ^= 255
    try:
        assert decode(bytes(data), tables) != symbols
    except ValueError as error:
        assert "not written with these frequencies" in str(error)  # noqa: PT017
