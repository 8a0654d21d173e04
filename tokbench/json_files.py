"""JSON of strangers: read within bounds of size, depth and numbers, so that what comes out can be walked and computed with."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokbench.regular import open_regular

MOST_BYTES = 32 * 2**20
"""Most bytes of a file, unless its reader says otherwise: a record that names 200,000 skipped images has about as many."""

DEEPEST = 64
"""Lists and objects within each other."""

MOST_DIGITS = 19
"""Most digits of a whole number: those of 64 bits have no more."""


def read_json(path: Path, *, most: int = MOST_BYTES) -> Any:
    """Read a file of JSON.

    Args:
        path: A regular file, or a link to one; a pipe or device is refused without waiting for it.
        most: Bytes it may have.

    Returns:
        Plain values, as ``parse_json`` returns them.

    Raises:
        OSError: If it cannot be opened or read.
        ValueError: If it is no regular file, too large, or what ``parse_json`` refuses; the text does not name the file.
    """
    return parse_json(read_regular(path, most=most))


def read_regular(path: Path, *, most: int = MOST_BYTES) -> bytes:
    """Read the bytes of a regular file; arguments and errors are those of ``read_json``."""
    file, _ = open_regular(path)
    with file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it has more than {most / 2**20:.3g} MiB, the most that such a file may have")
    return data


def parse_json(data: str | bytes) -> Any:
    """Parse JSON.

    Args:
        data: Text, or UTF-8 with or without a mark of byte order.

    Returns:
        Plain values: whole numbers of at most ``MOST_DIGITS`` digits, lists and objects at most ``DEEPEST`` deep.

    Raises:
        ValueError: If it is no JSON, or goes beyond these bounds.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        values = json.loads(text, parse_int=_whole, parse_float=_number)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 (byte {error.start})") from error
    except RecursionError as error:
        raise ValueError(f"it has more than {DEEPEST} lists and objects within each other") from error
    _check_depth(values)
    return values


def _whole(text: str) -> int:
    if len(text.lstrip("-")) > MOST_DIGITS:
        raise ValueError(f"it has a number of {len(text):,} digits")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"it has the number {text[:20]}{'...' * (len(text) > 20)}, more than a float holds")
    return value


def _check_depth(values: Any) -> None:
    level = [values]
    for _ in range(DEEPEST):
        level = [item for one in level for item in _within(one)]
        if not level:
            return
    raise ValueError(f"it has more than {DEEPEST} lists and objects within each other")


def _within(value: Any) -> Iterable[Any]:
    """What a list or an object holds; nothing else holds anything."""
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
