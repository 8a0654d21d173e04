"""Levels of a decoder: taming-transformers counts them from the highest resolution, most others in the order they run."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor


def turned(state: Mapping[str, Tensor], levels: str = "decoder.up") -> dict[str, Tensor]:
    """Count levels from the other end.

    Args:
        state: Tensors by name.
        levels: What stands before a level's number, after any prefix.

    Returns:
        The same tensors in the same order; keys without a level keep their names.
    """
    number = re.compile(rf"(?<=\b{re.escape(levels)}\.)\d+(?=\.)")
    last = max((int(level[0]) for key in state if (level := number.search(key))), default=0)
    return {number.sub(lambda level: str(last - int(level[0])), key, count=1): value for key, value in state.items()}
