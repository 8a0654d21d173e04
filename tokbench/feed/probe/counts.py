"""What counting alone predicts: codes by their frequency, and by their neighbours (an interpolated n-gram model)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from tokbench.records.intervals import Interval, group_jackknife

ROUNDS = 25
"""Rounds of expectation maximisation over the weights of an n-gram model."""


@dataclass(frozen=True)
class Unigram:
    """Frequencies of the codes of one codebook, half a count added to each (Krichevsky and Trofimov's estimate).

    Args:
        codes: Counted.
        size: Size of the codebook.
    """

    codes: Int64[ndarray, " n"]
    size: int
    table: Float64[ndarray, " s"] = field(init=False)

    def __post_init__(self) -> None:
        counts = np.bincount(self.codes, minlength=self.size) + 0.5
        object.__setattr__(self, "table", counts / counts.sum())

    def probability(self, codes: Int64[ndarray, " n"]) -> Float64[ndarray, " n"]:
        """Probability of each code."""
        return self.table[codes]


class Following:
    """Frequencies of codes behind contexts, smoothed towards a lower model by Witten and Bell's rule.

    ``P(x | c) = (n(c, x) + d(c) P'(x)) / (n(c) + d(c))``, d(c) the number of different codes seen behind c; P' where c was never seen.

    Args:
        contexts: Contexts of every code counted.
        codes: Counted.
    """

    def __init__(self, contexts: Int64[ndarray, " n"], codes: Int64[ndarray, " n"]) -> None:
        self._span = int(codes.max(initial=0)) + 1
        self._pairs, self._counts = np.unique(contexts * self._span + codes, return_counts=True)
        owners = self._pairs // self._span
        self._contexts, first, self._different = np.unique(owners, return_index=True, return_counts=True)
        self._totals = np.add.reduceat(self._counts, first) if len(first) else np.zeros(0, np.int64)

    def probability(
        self, contexts: Int64[ndarray, " n"], codes: Int64[ndarray, " n"], lower: Float64[ndarray, " n"]
    ) -> Float64[ndarray, " n"]:
        """Probability of each code behind its context, given its probability under the lower model."""
        known = codes < self._span
        together = np.where(known, _found(self._pairs, self._counts, contexts * self._span + np.where(known, codes, 0)), 0)
        total = _found(self._contexts, self._totals, contexts)
        different = _found(self._contexts, self._different, contexts)
        mass = np.where(total > 0, different, 1)
        return (together + mass * lower) / (total + mass)


def _found(keys: ndarray, values: ndarray, wanted: ndarray) -> ndarray:
    """The value of each wanted key, 0 where it is not among the sorted keys."""
    if not len(keys):
        return np.zeros(len(wanted), dtype=np.int64)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)


def contexts_of(codes: Int64[ndarray, "b l k"], grid: tuple[int, ...], sizes: tuple[int, ...], book: int) -> dict[str, ndarray]:
    """What stands around each code of one codebook among the codes before it.

    Args:
        codes: Codes of B images.
        grid: ``(h, w)`` or ``(n,)``.
        sizes: Sizes of the codebooks.
        book: Which codebook.

    Returns:
        Numbers of contexts ``[B * L]`` by name. On a 2D grid they are the codes to the left and above and both together, on a 1D grid the
        position and the code before. With several codebooks there is also the code of the codebook before at the same position. A border
        is a code of its own.
    """
    own, border = codes[:, :, book], sizes[book]
    found = {}
    if len(grid) == 2:
        square = own.reshape(-1, *grid)
        left, above = np.full_like(square, border), np.full_like(square, border)
        left[:, :, 1:], above[:, 1:] = square[:, :, :-1], square[:, :-1]
        found = {"left": left.ravel(), "above": above.ravel(), "left and above": (left * (border + 1) + above).ravel()}
    else:
        before = np.full_like(own, border)
        before[:, 1:] = own[:, :-1]
        found = {"position": np.broadcast_to(np.arange(own.shape[1]), own.shape).ravel(), "before": before.ravel()}
    if book:
        found["codebook before"] = codes[:, :, book - 1].ravel()
    return found


LOWER = {"left and above": "left"}
"""Models that fall back on another than the unigram model."""


@dataclass(frozen=True)
class _Mixture:
    """A unigram model and one for every kind of context, of one codebook."""

    unigram: Unigram
    following: dict[str, Following]

    @classmethod
    def of(cls, contexts: dict[str, ndarray], codes: ndarray, size: int) -> _Mixture:
        return cls(Unigram(codes, size), {name: Following(numbers, codes) for name, numbers in contexts.items()})

    def probabilities(self, contexts: dict[str, ndarray], codes: ndarray) -> Float64[ndarray, "m n"]:
        found = {"unigram": self.unigram.probability(codes)}
        for name, model in self.following.items():
            found[name] = model.probability(contexts[name], codes, found[LOWER.get(name, "unigram")])
        return np.stack(list(found.values()))


def unigram_bits(train: Int64[ndarray, "m l k"], held_out: Int64[ndarray, "n l k"], sizes: tuple[int, ...]) -> Float64[ndarray, "n l k"]:
    """Bits of held-out codes under the frequencies of training codes, each codebook by itself."""
    parts = [
        -np.log2(Unigram(train[:, :, book].ravel(), size).probability(held_out[:, :, book].ravel())) for book, size in enumerate(sizes)
    ]
    return np.stack(parts, axis=1).reshape(held_out.shape)


def own_bits(codes: Int64[ndarray, "n l k"], sizes: tuple[int, ...], groups: Sequence[str]) -> tuple[float, Interval | None]:
    """Bits of an image's codes by the frequencies of these very codes, which no fixed code without context beats; with a jackknife.

    Args:
        codes: Codes of all images.
        sizes: Sizes of the codebooks.
        groups: What each image is a sample of.

    Returns:
        The entropy of a token, the mean over codebooks, times the tokens of an image; and its interval, None with fewer than five groups.
    """
    whole, tokens = _counts(codes, sizes), codes.shape[1] * codes.shape[2]

    def without(keep: np.ndarray) -> float:
        others = [counts - left_out for counts, left_out in zip(whole, _counts(codes[~keep], sizes), strict=True)]
        return _mean_entropy(others) * tokens

    bits = _mean_entropy(whole) * tokens
    return bits, group_jackknife(bits, without, groups)


def _counts(codes: Int64[ndarray, "n l k"], sizes: tuple[int, ...]) -> list[ndarray]:
    """How often each code of each codebook occurs."""
    return [np.bincount(codes[:, :, book].ravel(), minlength=size) for book, size in enumerate(sizes)]


def _mean_entropy(counts: Sequence[ndarray]) -> float:
    """Entropy of frequencies in bits, the mean over codebooks."""
    total = 0.0
    for own in counts:
        shares = own[own > 0] / own.sum()
        total -= float((shares * np.log2(shares)).sum())
    return total / len(counts)


def ngram_bits(
    train: Int64[ndarray, "m l k"], held_out: Int64[ndarray, "n l k"], *, grid: tuple[int, ...], sizes: tuple[int, ...]
) -> tuple[Float64[ndarray, "n l k"], list[dict[str, float]]]:
    """Bits of held-out codes under an interpolated n-gram model.

    Unigram and context models, counted on nine tenths of the training images, are mixed. The weights maximise the likelihood of the last
    tenth. Then everything is counted again on all of them.

    Args:
        train: Training codes, images of one group side by side.
        held_out: Held-out codes.
        grid: Grid of both.
        sizes: Sizes of the codebooks.

    Returns:
        The bits, and the weights for every codebook.
    """
    cut = max(1, len(train) * 9 // 10)
    parts, weights = [], []
    for book, size in enumerate(sizes):
        counted, kept, all_of_them, wanted = (
            (contexts_of(codes, grid, sizes, book), codes[:, :, book].ravel()) for codes in (train[:cut], train[cut:], train, held_out)
        )
        shares = _fit_weights(_Mixture.of(*counted, size).probabilities(*kept))
        parts.append(-np.log2(shares @ _Mixture.of(*all_of_them, size).probabilities(*wanted)))
        weights.append(dict(zip(("unigram", *counted[0]), map(float, shares), strict=True)))
    return np.stack(parts, axis=1).reshape(held_out.shape), weights


def _fit_weights(probabilities: Float64[ndarray, "m n"]) -> Float64[ndarray, " m"]:
    """Expectation maximisation from equal weights; with nothing to fit to they stay equal."""
    weights = np.full(len(probabilities), 1 / len(probabilities))
    for _ in range(ROUNDS if probabilities.size else 0):
        shares = weights[:, None] * probabilities
        weights = (shares / shares.sum(axis=0)).mean(axis=1)
    return weights
