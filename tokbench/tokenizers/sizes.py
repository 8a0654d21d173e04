"""How large the tokenizers of the zoo are, by the shapes of their tensors; no torch.

The numbers are in ``sizes.json``, which ``make sizes`` writes from networks that are built without memory. A published file may be larger:
it may hold averages, judges and layers over time besides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

FILE = "sizes.json"


@dataclass(frozen=True)
class Size:
    """How large a tokenizer is.

    Args:
        parameters: Values that training sets.
        bytes: What all of its tensors take, buffers too, in the precision it loads them in.
    """

    parameters: int
    bytes: int


def size_of(name: str) -> Size | None:
    """Size of a tokenizer of this package.

    Args:
        name: ``family/variant``.

    Returns:
        Its size; None for tokenizers of other packages.
    """
    return _sizes().get(name)


@cache
def _sizes() -> Mapping[str, Size]:
    text = (resources.files("tokbench.tokenizers") / FILE).read_text(encoding="utf-8")
    return {name: Size(*numbers) for name, numbers in json.loads(text).items()}


def written(sizes: Mapping[str, Size]) -> str:
    """Text of the file that ``size_of`` reads, a line a tokenizer."""
    lines = (f"{json.dumps(name)}: [{size.parameters}, {size.bytes}]" for name, size in sorted(sizes.items()))
    return "{\n  " + ",\n  ".join(lines) + "\n}\n"
