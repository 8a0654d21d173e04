"""Counted nouns: one image, two images."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: ``1 image``, ``2,000 images``.

    Args:
        count: How many.
        noun: Noun for one.
        plural: Noun for several; None adds an s.
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
