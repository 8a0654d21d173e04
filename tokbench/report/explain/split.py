"""A difference split up by cause: steps from record to record that add up to the whole, or the average over all orders; no torch.

    figure of B - figure of A  =  sum of steps,   a step  =  sum of weights times figures of records

A record is a corner of a cube: the set of causes that are in it as in B. Versions and machine change beside them, at most twice: from A to
where all else was measured, and from there to B.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tokbench.report.explain.causes import SOFTWARE

FIRST, SECOND = "first", "second"
"""Versions and machine of the two records that are compared; those of other records have other names."""

MOST_AVERAGED = 6
"""Causes up to which all orders are averaged over: twice as many records for every one."""


@dataclass(frozen=True)
class Corner:
    """Where a record stands.

    Args:
        changed: The causes that are in it as in the second record.
        where: Its versions and machine: ``FIRST``, ``SECOND``, or any other name.
    """

    changed: frozenset[str]
    where: str = FIRST


@dataclass(frozen=True)
class Share:
    """What of a difference is whose.

    Args:
        causes: Keys of the causes; several were not measured apart.
        weights: What the figure of each record counts.
        orders: What the change would be in every order of the causes, where it is their mean.
    """

    causes: tuple[str, ...]
    weights: Mapping[Corner, float]
    orders: tuple[Mapping[Corner, float], ...] = ()

    def of(self, values: Mapping[Corner, float]) -> float:
        """The change, from the figures of records."""
        return of_figures(self.weights, values)

    def spread(self, values: Mapping[Corner, float]) -> tuple[float, float] | None:
        """The least and the most that it is in any order; None if there is one order."""
        found = [of_figures(weights, values) for weights in self.orders]
        return (min(found), max(found)) if len(found) > 1 else None


def of_figures(weights: Mapping[Corner, float], values: Mapping[Corner, float]) -> float:
    """A sum of figures, each with its weight."""
    return math.fsum(weight * values[corner] for corner, weight in weights.items())


def shares(corners: Sequence[Corner], order: Sequence[str], *, software: bool) -> list[Share]:
    """Split up the difference between the first corner, without any change, and the last, with all.

    Where the records of all combinations of causes were measured in one place, what a cause counts is its mean over all orders (Shapley
    1953). Else causes are changed one after another, along the records that leave fewest causes together. Of several such
    ways it is the one that changes causes in the order given.

    Args:
        corners: Where there are records; the two that are compared are among them.
        order: The causes.
        software: Whether versions or machine of the two differ.

    Returns:
        The shares in the order of the causes, versions and machine last. Their changes add up to the whole.
    """
    start, end = Corner(frozenset()), Corner(frozenset(order), SECOND if software else FIRST)
    found = _averaged({start, end, *corners}, order, start, end) or _one_way({start, end, *corners}, order, start, end)
    return sorted(_together(found), key=lambda share: _places(share.causes, order))


def _places(causes: Sequence[str], order: Sequence[str]) -> tuple[int, ...]:
    return tuple(order.index(cause) if cause in order else len(order) for cause in causes)


def _averaged(corners: set[Corner], order: Sequence[str], start: Corner, end: Corner) -> list[Share]:
    """Means over all orders, where all combinations are there; empty if they are not."""
    if not 2 <= len(order) <= MOST_AVERAGED:
        return []
    subsets = [frozenset(some) for count in range(len(order) + 1) for some in itertools.combinations(order, count)]
    for where in sorted({corner.where for corner in corners}, key=lambda name: (name != FIRST, name != SECOND, name)):
        if all(Corner(subset, where) in corners for subset in subsets):
            there, back = Corner(frozenset(), where), Corner(frozenset(order), where)
            hops = [Share((SOFTWARE,), {b: 1.0, a: -1.0}) for a, b in ((start, there), (back, end)) if a != b]
            return [*(_mean(cause, subsets, where, len(order)) for cause in order), *hops]
    return []


def _mean(cause: str, subsets: Sequence[frozenset[str]], where: str, count: int) -> Share:
    weights: dict[Corner, float] = {}
    orders = []
    for subset in subsets:
        if cause not in subset:
            share = math.factorial(len(subset)) * math.factorial(count - len(subset) - 1) / math.factorial(count)
            without, given = Corner(subset, where), Corner(subset | {cause}, where)
            weights[given] = weights.get(given, 0.0) + share
            weights[without] = weights.get(without, 0.0) - share
            orders.append({given: 1.0, without: -1.0})
    return Share((cause,), weights, tuple(orders))


def _one_way(corners: set[Corner], order: Sequence[str], start: Corner, end: Corner) -> list[Share]:
    """Steps along the corners that leave fewest causes together."""
    ordered = sorted(corners, key=lambda corner: (len(corner.changed), _rank(corner, end), corner.where, sorted(corner.changed)))
    ways: dict[Corner, tuple[tuple[int, int, tuple[tuple[int, ...], ...]], tuple[Corner, ...]]] = {start: ((0, 0, ()), (start,))}
    for there in ordered:
        found = []
        for here in ordered:
            if here in ways and _leads(here, there, end):
                (together, hops, places), way = ways[here]
                causes = _causes(here, there, order)
                cost = (together + len(causes) - 1, hops + (SOFTWARE in causes), (*places, _places(causes, order)))
                found.append((cost, (*way, there)))
        if found and there != start:
            ways[there] = min(found, key=lambda item: item[0])
    way = ways[end][1]
    return [Share(_causes(here, there, order), {there: 1.0, here: -1.0}) for here, there in itertools.pairwise(way)]


def _rank(corner: Corner, end: Corner) -> int:
    """How far versions and machine have changed: not, to those of others, or to those of the second record."""
    return 2 if corner.where == SECOND or corner == end else 0 if corner.where == FIRST else 1


def _leads(here: Corner, there: Corner, end: Corner) -> bool:
    if here == there or not here.changed <= there.changed or _rank(here, end) > _rank(there, end):
        return False
    return here.where == there.where or here.where == FIRST or there.where == end.where


def _causes(here: Corner, there: Corner, order: Sequence[str]) -> tuple[str, ...]:
    changed = tuple(cause for cause in order if cause in there.changed - here.changed)
    return (*changed, SOFTWARE) if here.where != there.where else changed


def _together(found: Sequence[Share]) -> list[Share]:
    """Shares of the same causes as one: versions and machine may have changed twice."""
    joined: dict[tuple[str, ...], Share] = {}
    for share in found:
        before = joined.get(share.causes)
        if before is not None:
            weights = dict(before.weights)
            for corner, weight in share.weights.items():
                weights[corner] = weights.get(corner, 0.0) + weight
            share = Share(share.causes, weights, ())
        joined[share.causes] = share
    return list(joined.values())
