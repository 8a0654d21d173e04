"""Bounds by counting: held against loops over dictionaries."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from tokbench.feed.probe.counts import Following, Unigram, contexts_of, ngram_bits, own_bits, unigram_bits


def codes_of(seed: int, *, images: int = 30, grid: tuple[int, ...] = (4, 3), sizes: tuple[int, ...] = (5,)) -> np.ndarray:
    """Each code mostly follows from the one before it."""
    rng = np.random.default_rng(seed)
    positions = int(np.prod(grid))
    start = rng.integers(0, 100, size=(images, 1, len(sizes)))
    codes = (start + np.arange(positions)[None, :, None]) % np.array(sizes)
    noise = rng.random(codes.shape) < 0.2
    return np.where(noise, rng.integers(0, np.array(sizes), size=codes.shape), codes)


def test_unigram_adds_half_a_count() -> None:
    codes = np.array([0, 0, 2])
    np.testing.assert_allclose(Unigram(codes, 4).table, [2.5 / 5, 0.5 / 5, 1.5 / 5, 0.5 / 5])


@given(st.integers(0, 999), st.integers(2, 6), st.integers(1, 40))
def test_following_is_witten_and_bells_rule(seed: int, size: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    contexts, codes = rng.integers(0, 4, count), rng.integers(0, size, count)
    model, lower = Following(contexts, codes), rng.dirichlet([1.0] * size)
    pairs, totals = Counter(zip(contexts.tolist(), codes.tolist(), strict=True)), Counter(contexts.tolist())
    for context in range(6):  # two of them never seen
        different = sum(1 for seen, _ in pairs if seen == context)
        expected = [
            (pairs[context, x] + different * lower[x]) / (totals[context] + different) if totals[context] else lower[x] for x in range(size)
        ]
        found = model.probability(np.full(size, context), np.arange(size), lower)
        np.testing.assert_allclose(found, expected)
        np.testing.assert_allclose(found.sum(), 1)


def test_contexts_are_the_codes_before() -> None:
    codes = np.arange(12).reshape(1, 6, 2) % 5
    own = codes[0, :, 1].tolist()
    found = contexts_of(codes, (2, 3), (5, 5), 1)
    assert found["left"].tolist() == [5, own[0], own[1], 5, own[3], own[4]]
    assert found["above"].tolist() == [5, 5, 5, own[0], own[1], own[2]]
    assert found["left and above"].tolist() == [6 * a + b for a, b in zip(found["left"], found["above"], strict=True)]
    assert found["codebook before"].tolist() == codes[0, :, 0].tolist()
    assert list(contexts_of(codes, (6,), (5, 5), 0)) == ["position", "before"]
    assert contexts_of(codes, (6,), (5, 5), 0)["before"].tolist() == [5, *codes[0, :-1, 0]]


@pytest.mark.parametrize(("grid", "sizes"), [((4, 3), (5,)), ((12,), (5, 3))])
def test_ngrams_are_a_distribution_and_beat_frequencies(grid: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    train, held_out = (codes_of(seed, grid=grid, sizes=sizes, images=60) for seed in (1, 2))
    bits, weights = ngram_bits(train, held_out, grid=grid, sizes=sizes)
    assert bits.shape == held_out.shape
    assert bits.mean() < unigram_bits(train, held_out, sizes).mean() - 0.5
    for shares in weights:
        assert sum(shares.values()) == pytest.approx(1)
        assert max(shares, key=lambda name: shares[name]) in ("left", "left and above", "before")
    last = np.repeat(held_out[:1], sizes[-1], axis=0)  # all codes that the very last one could be
    last[:, -1, -1] = np.arange(sizes[-1])
    endings = ngram_bits(train, last, grid=grid, sizes=sizes)[0][:, -1, -1]
    assert (2.0**-endings).sum() == pytest.approx(1)


def test_no_image_knows_of_the_codes_after() -> None:
    train, held_out = codes_of(1), codes_of(2)
    changed = held_out.copy()
    changed[:, 7:] = 0
    first, second = (ngram_bits(train, codes, grid=(4, 3), sizes=(5,))[0] for codes in (held_out, changed))
    np.testing.assert_array_equal(first[:, :7], second[:, :7])
    assert (first[:, 7:] != second[:, 7:]).any()


def test_one_training_image_is_enough() -> None:
    bits, weights = ngram_bits(codes_of(1, images=1), codes_of(2), grid=(4, 3), sizes=(5,))
    assert np.isfinite(bits).all()
    assert set(weights[0].values()) == {0.25}


def test_entropy_is_that_of_the_frequencies() -> None:
    codes = np.stack([np.array([[0, 1, 2, 3]]), np.array([[0, 0, 0, 1]])], axis=2)
    expected = (2.0 + (0.75 * np.log2(4 / 3) + 0.25 * 2)) / 2
    assert own_bits(codes, (4, 9), ["a"]) == (pytest.approx(8 * expected), None)
    assert own_bits(np.zeros((2, 3, 1), dtype=np.int64), (4,), ["a", "b"]) == (0, None)


def test_own_bits_have_the_interval_of_a_jackknife_over_groups() -> None:
    codes, groups = codes_of(4, sizes=(5, 3)), [f"{i // 3:02d}" for i in range(30)]

    def slow(kept: list[int]) -> float:
        bits = 0.0
        for book in range(2):
            counts = Counter(code for image in kept for code in codes[image, :, book].tolist())
            total = sum(counts.values())
            bits += sum(-count / total * np.log2(count / total) for count in counts.values())
        return bits / 2 * 24

    bits, interval = own_bits(codes, (5, 3), groups)
    without = [slow([image for image in range(30) if int(groups[image]) != group]) for group in range(10)]
    mean = sum(without) / 10
    error = np.sqrt(9 / 10 * sum((one - mean) ** 2 for one in without))
    assert bits == pytest.approx(slow(list(range(30))))
    assert interval.high - bits == bits - interval.low == pytest.approx(scipy.stats.t.ppf(0.975, 9) * error)
    assert interval.method == "jackknife of 10 groups in 10 folds"
