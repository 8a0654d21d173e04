"""Sizes of images as people write them: one number for squares, ``HxW`` for all others; height before width, in pixels."""

from __future__ import annotations

from tokbench.errors import TokbenchError

Size = int | tuple[int, int]
"""Side of square images, or height and width of others."""

LARGEST = 8192
"""Pixels along a side."""


def as_size(height: int, width: int) -> Size:
    """Write height and width as people do: equal ones are one number, so that no size is written in two ways."""
    return height if height == width else (height, width)


def sides(size: Size) -> tuple[int, int]:
    """Height and width."""
    return (size, size) if isinstance(size, int) else size


def size_text(size: Size) -> str:
    """A size in words: ``256``, or ``576x1024``."""
    return str(size) if isinstance(size, int) else f"{size[0]}x{size[1]}"


def check_size(size: Size, name: str = "size") -> None:
    """Refuse what is no size of images.

    Raises:
        ValueError: If a side is no whole number from 1 to ``LARGEST``, or height and width are equal.
    """
    pair = sides(size)
    if len(pair) != 2 or not all(type(side) is int and 1 <= side <= LARGEST for side in pair):
        raise ValueError(f"{name} must be 1 to {LARGEST} px, got {size_text(size) if len(pair) == 2 else size}")
    if not isinstance(size, int) and size[0] == size[1]:
        raise ValueError(f"{name} of square images is one number, got {size_text(size)}; write {size[0]}")


def parse_size(text: str, *, name: str = "--size", low: int = 1) -> Size:
    """Read a size: ``256``, or ``576x1024``.

    Args:
        text: What a user wrote.
        name: Where.
        low: The smallest side.

    Raises:
        TokbenchError: If it is neither, or a side is too small or too large.
    """
    words = [word.strip() for word in text.lower().split("x")]
    numbers = [int(word) if word.isascii() and word.isdigit() and len(word) <= 6 else 0 for word in words]
    if len(numbers) > 2 or not all(low <= number <= LARGEST for number in numbers):
        raise TokbenchError(f"{name} takes a side of {low} to {LARGEST} px, or height and width such as 576x1024; got {text[:40]!r}")
    return as_size(numbers[0], numbers[-1])


def square_side(size: Size, what: str) -> int:
    """The side of square images, where nothing else serves.

    Args:
        size: What was asked for.
        what: What takes squares alone, for the error.

    Raises:
        TokbenchError: If it is no square.
    """
    if isinstance(size, int):
        return size
    raise TokbenchError(f"{what} square, got {size_text(size)}; give --size one number, such as {min(size)}")
