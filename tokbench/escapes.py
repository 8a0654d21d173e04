"""Text of strangers made harmless to show: what a terminal or a reader's eye would obey is written out."""

from __future__ import annotations


def visible(text: str) -> str:
    """Text on one line, with control, direction and invisible characters written out, as in a string of Python.

    Args:
        text: Such as a name from a record, or of a file.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else character.encode("unicode_escape").decode() for character in text)
