"""Scaling pictures to the same pixels whichever Pillow is installed.

Pillow scales bytes along one axis after the other and rounds between. Up to version 12 it went across first. Version 13 goes down first where a
picture loses more than twice as many rows as columns, which changes pixels by a few levels. Here that is so under every version.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

from PIL import Image

Order = Literal["across first", "down first"]
Size = tuple[int, int]
Box = tuple[float, float, float, float]

PROBES: dict[Order, tuple[tuple[Size, Size], ...]] = {
    "across first": (((20, 30), (15, 20)), ((16, 24), (8, 9)), ((12, 9), (7, 14)), ((9, 40), (12, 45)), ((30, 12), (11, 6))),
    "down first": (((20, 31), (15, 20)), ((16, 24), (8, 7)), ((8, 40), (6, 20)), ((9, 20), (14, 19))),
}
"""Sizes before and after, on both sides of where the order changes."""


def resized(image: Image.Image, size: Size, how: Image.Resampling, box: Box | None = None) -> Image.Image:
    """Scale a picture as Pillow 13 does.

    Args:
        image: The picture.
        size: Width and height of the result.
        how: The filter.
        box: Left, top, right and lower edge of what is scaled; None stands for all of it.
    """
    order = order_of(image.size, size)
    if how == Image.Resampling.NEAREST or orders_as_installed()[order]:
        return image.resize(size, how, box=box)
    return _by_axes(image, size, how, box, order)


def order_of(before: Size, after: Size) -> Order:
    """Which axis is scaled first."""
    (width, height), (wide, high) = before, after
    return "down first" if high < height and height - high > 2 * (width - wide) else "across first"


def _by_axes(image: Image.Image, size: Size, how: Image.Resampling, box: Box | None, order: Order) -> Image.Image:
    left, top, right, bottom = box or (0.0, 0.0, float(image.width), float(image.height))
    if order == "across first":
        across = image.resize((size[0], image.height), how, box=(left, 0, right, image.height))
        return across.resize(size, how, box=(0, top, size[0], bottom))
    down = image.resize((image.width, size[1]), how, box=(0, top, image.width, bottom))
    return down.resize(size, how, box=(left, 0, right, size[1]))


@cache
def orders_as_installed() -> dict[Order, bool]:
    """Whether the Pillow that is installed scales in an order where it is to, found out by trying."""
    return {order: all(_same(before, after, order) for before, after in probes) for order, probes in PROBES.items()}


def _same(before: Size, after: Size, order: Order) -> bool:
    width, height = before
    noise = bytes(place * place * 31 % 251 for place in range(3 * width * height))
    image, how = Image.frombytes("RGB", before, noise), Image.Resampling.BICUBIC
    return image.resize(after, how).tobytes() == _by_axes(image, after, how, None, order).tobytes()
