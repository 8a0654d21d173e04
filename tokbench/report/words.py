"""Words of reports: counted nouns, and names that fit."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: ``1 image``, ``2,000 images``.

    Args:
        count: How many.
        noun: Noun for one.
        plural: Noun for several; None adds an s.
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def shortened(text: str, limit: int) -> str:
    """A name of at most so many characters: of a longer one the beginning and the end, with an ellipsis between.

    Args:
        text: The name.
        limit: Characters to keep, at least 3.
    """
    if len(text) <= limit:
        return text
    end = (limit - 1) // 2
    return f"{text[: limit - 1 - end]}…{text[len(text) - end :]}"
