"""Words of reports: counted nouns, and names that fit."""

from __future__ import annotations

from tokbench.counting import counted

__all__ = ["counted", "shortened"]


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
