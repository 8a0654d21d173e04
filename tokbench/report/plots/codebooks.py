"""How the codes of codebooks are used, as curves and histograms, computed from records; nothing is drawn here."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tokbench.records.record import CodebookUse, Record


@dataclass(frozen=True)
class RankCurve:
    """How often the codes of one codebook are used, the most used first; see ``CodebookUse``."""

    name: str
    size: int
    ranks: tuple[int, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True)
class UseHistogram:
    """How many codes are used how often.

    Args:
        name: Of the record's row.
        edges: Of the bins, as multiples of the use that all codes would have if they had the same.
        shares: Of all codes, in each bin.
        dead: Share of codes that never occur.
    """

    name: str
    edges: tuple[float, ...]
    shares: tuple[float, ...]
    dead: float


def rank_curves(records: Sequence[Record], names: Sequence[str]) -> list[RankCurve]:
    """Rank-frequency curves, one a codebook; records without them give none."""
    return [
        RankCurve(name, use.size, use.ranks, use.shares)
        for name, record in zip(names, records, strict=True)
        for use in record.codebooks
        if use.is_sound
    ]


def use_histograms(records: Sequence[Record], names: Sequence[str]) -> list[UseHistogram]:
    """How many codes are used how often, over all codebooks of a record.

    Bins are powers of two of the use relative to equal use. Between the ranks that a record holds, the number of codes is
    interpolated on logarithmic axes; up to 256 codes it holds all of them.
    """
    found = []
    for name, record in zip(names, records, strict=True):
        books = [use for use in record.codebooks if use.is_sound]
        if not books:
            continue
        low = min(math.floor(math.log2(use.shares[-1] * use.size)) for use in books)
        high = max(math.floor(math.log2(use.shares[0] * use.size)) + 1 for use in books)
        edges = [2.0**power for power in range(low, high + 1)]
        codes = sum(use.size for use in books)
        counts = [
            math.fsum(_codes_from(use, a / use.size) - _codes_from(use, b / use.size) for use in books)
            for a, b in itertools.pairwise(edges)
        ]
        dead = sum(use.size - use.used for use in books)
        found.append(UseHistogram(name, tuple(edges), tuple(count / codes for count in counts), dead / codes))
    return found


def _codes_from(use: CodebookUse, share: float) -> float:
    """How many codes have at least this share of the tokens."""
    shares, ranks = np.array(use.shares), np.array(use.ranks, dtype=np.float64)
    if share > shares[0]:
        return 0.0
    if share <= shares[-1]:
        return float(use.used)
    below = int(np.searchsorted(-shares, -share, side="right"))  # first point with a smaller share
    if ranks[below] == ranks[below - 1] + 1 or shares[below] == shares[below - 1]:
        return float(ranks[below - 1])
    position = math.log(shares[below - 1] / share) / math.log(shares[below - 1] / shares[below])
    return float(ranks[below - 1] * (ranks[below] / ranks[below - 1]) ** position)
