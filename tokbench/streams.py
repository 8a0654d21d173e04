"""What is printed, where it goes: any text on any encoding, and streams that are full, closed or gone."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tokbench.errors import TokbenchError

CLOSED_PIPE = 141
"""What a process exits with whose reader has gone, as shells count: 128 and the number of SIGPIPE."""

ASCII = {
    "†": "+",
    "‡": "#",
    "≠": "!",
    "↑": "^",
    "↓": "v",
    "→": ">",
    "←": "<",
    "…": "~",
    "≈": "~",
    "·": ".",
    "•": "*",
    "±": "+-",
    "≤": "<=",
    "≥": ">=",
    "∞": "inf",
    "µ": "u",
    "\xd7": "x",  # times
    "\u2013": "-",  # dashes
    "\u2014": "-",
    "\u2212": "-",  # minus
    "\u2018": "'",  # quotes
    "\u2019": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\xa0": " ",  # no-break space
}
"""Marks for encodings that lack them; those that stand in cells of tables are as wide."""

_RULES = dict.fromkeys("─━═╌╍┄┅┈┉╴╶╸╺", "-") | dict.fromkeys("│┃║", "|") | dict.fromkeys("█▉▊▋▌▍▎▏", "#")


def take_any_text(stream: Any) -> None:
    """Have a stream take every text: what its encoding lacks becomes ASCII, marks by likeness and the rest as escapes."""
    codecs.register_error("tokbench", _spelled)
    if isinstance(stream, io.TextIOWrapper):
        with suppress(OSError):  # it writes what waits, and whoever writes next sees that it cannot
            stream.reconfigure(errors="tokbench")


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    found = (ASCII.get(character) or _RULES.get(character) for character in text)
    return "".join(
        plain or character.encode("ascii", "backslashreplace").decode() for plain, character in zip(found, text, strict=True)
    ), error.end


class ClosedPipe(BaseException):
    """Nobody reads the output any more; no error, so that nobody handles it on the way."""


class _Output:
    """Standard output that says what is wrong with it, wherever it is written from."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with _worded():
            return self._stream.write(text)

    def flush(self) -> None:
        with _worded():
            self._stream.flush()


@contextmanager
def _worded() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise ClosedPipe from None
    except OSError as error:
        raise TokbenchError(f"cannot write to standard output ({error.strerror or error}); make room, or send it elsewhere") from error


@contextmanager
def output() -> Iterator[None]:
    """Have everything within print to a standard output that takes every text, all of it written at the end.

    Raises:
        ClosedPipe: If nobody reads it any more.
        TokbenchError: If it cannot be written, as on a full disk.
    """
    before = sys.stdout
    take_any_text(before)
    if before is not None:
        sys.stdout = _Output(before)
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    finally:
        sys.stdout = before


def abandon_output() -> None:
    """Let go of what could not be written, so that nobody complains about it at the end of the process."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            _point_nowhere(stream)


def _point_nowhere(stream: Any) -> None:
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
