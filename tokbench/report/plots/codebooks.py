"""How the codes of codebooks are used, as curves and histograms, computed from records; nothing is drawn here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from tokbench.records.record import CodebookUse, Record
from tokbench.report.plots.data import RankCurve, UseHistogram


def rank_curves(records: Sequence[Record], names: Sequence[str]) -> list[RankCurve]:
    """Rank-frequency curves, one a codebook; records without them give none."""
    return [
        RankCurve(i, name, number, use)
        for i, (name, record) in enumerate(zip(names, records, strict=True))
        for number, use in enumerate(record.codebooks)
        if use.is_sound
    ]


def use_histograms(records: Sequence[Record], names: Sequence[str]) -> list[UseHistogram]:
    """How many codes are used how often, over all codebooks of a record, in bins of powers of two of the use relative to equal use."""
    found = []
    for name, record in zip(names, records, strict=True):
        books = [use for use in record.codebooks if use.is_sound]
        if not books:
            continue
        low = min(math.floor(math.log2(use.shares[-1] * use.size)) for use in books)
        high = max(math.floor(math.log2(use.shares[0] * use.size)) + 1 for use in books)
        edges = [2.0**power for power in range(low, high + 1)]
        codes = sum(use.size for use in books)
        dead = sum(use.size - use.used for use in books)
        found.append(UseHistogram(name, tuple(edges), tuple(count / codes for count in count_codes(books, edges)), dead / codes))
    return found


def count_codes(books: Sequence[CodebookUse], edges: Sequence[float]) -> list[float]:
    """How many codes of all codebooks are used so often.

    Between the ranks that a record holds, the number of codes is interpolated on logarithmic axes; up to 256 codes it holds all of them.

    Args:
        books: Sound ones.
        edges: Edges of the bins, ascending, as multiples of the use that all codes of a codebook would have if they had the same.

    Returns:
        The number of codes of each bin; codes that never occur are in none.
    """
    return [math.fsum(_codes_from(use, a / use.size) - _codes_from(use, b / use.size) for use in books) for a, b in pairwise(edges)]


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
