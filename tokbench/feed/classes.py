"""Names of classes in the order of their numbers, from a file or an earlier export, so that parts of a data set agree."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tokbench.errors import TokbenchError
from tokbench.feed.summary import read_summary
from tokbench.image_files import UnreadableImage, read_regular

MAX_BYTES = 16 << 20
"""Size of a file of names."""


def read_classes(place: Path) -> tuple[str, ...]:
    """Read names of classes.

    Args:
        place: A folder with an export, whose names are taken, or a file. A JSON file has a list of names, or an object of names and
            numbers from 0. A text file has one name a line.

    Returns:
        The names; their places are their numbers.

    Raises:
        TokbenchError: If there are none, two are equal, or numbers are missing.
    """
    if place.is_dir():
        names: Any = read_summary(place).job.label_names
        if not names:
            raise TokbenchError(f"the export in {place} has no names of classes; give one made with labels that have names")
        return tuple(names)
    try:
        text = read_regular(place, MAX_BYTES).decode("utf-8-sig")
    except (UnreadableImage, UnicodeDecodeError) as error:
        raise TokbenchError(f"cannot read the classes in {place} ({error}); give a text or JSON file of names, or an export") from error
    names = text.splitlines()
    if place.suffix.lower() == ".json":
        try:
            names = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise TokbenchError(f"{place} is not JSON ({error}); give a list of names, or an object of names and numbers") from error
        if isinstance(names, dict):
            if sorted(names.values(), key=str) != sorted(range(len(names)), key=str):
                raise TokbenchError(f"{place} gives numbers that are not 0 to {len(names) - 1}, each once; mend it")
            names = sorted(names, key=names.__getitem__)
    else:
        names = [name.strip() for name in names if name.strip()]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise TokbenchError(f"{place} holds no names of classes; write one a line, or a JSON list")
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise TokbenchError(f"{place} names the class {twice} twice; give every class once, in the order of their numbers")
    return tuple(names)
