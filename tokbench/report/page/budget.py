"""What fits a budget of bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")


def take_fitting(
    items: Iterable[Item], weigh: Callable[[Item], int], shorten: Callable[[Item], Item | None], budget: int
) -> tuple[list[Item], int]:
    """Take items in their order as long as they fit; the first, if it does not fit whole, in part.

    Args:
        items: Made one by one, none after the first that does not fit.
        weigh: Bytes an item takes.
        shorten: Leaves something of an item out; None if nothing more can be.
        budget: Bytes there are.

    Returns:
        What was taken, and the bytes it takes.
    """
    taken: list[Item] = []
    spent = 0
    for item in items:
        weight = weigh(item)
        while not taken and weight > budget and (less := shorten(item)) is not None:
            item, weight = less, weigh(less)
        if spent + weight > budget:
            break
        taken.append(item)
        spent += weight
    return taken, spent
