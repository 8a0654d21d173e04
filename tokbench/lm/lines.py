"""Files of JSON lines, read one line at a time and within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tokbench.errors import TokbenchError
from tokbench.regular import open_regular

MOST_LINE = 2**20
"""Most bytes of a line."""


def lines(path: Path, *, what: str) -> Iterator[tuple[int, int, bytes]]:
    """Read the lines of a file that hold something.

    Args:
        path: A regular file.
        what: What it should hold, as an error says it.

    Yields:
        Number of a line from 1, byte where it begins, and its bytes.

    Raises:
        TokbenchError: If it cannot be read, or a line is longer than ``MOST_LINE``.
    """
    try:
        file, _ = open_regular(path)
        with file:
            number, place = 0, 0
            while line := file.readline(MOST_LINE + 1):
                number += 1
                if len(line) > MOST_LINE:
                    raise TokbenchError(f"{path}, line {number}: it has more than {MOST_LINE:,} bytes; write one JSON object a line")
                if line.strip():
                    yield number, place, line
                place += len(line)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TokbenchError(f"{path} cannot be read ({reason}); give a file of JSON lines with {what}") from error
