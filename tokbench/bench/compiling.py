"""Encoding and decoding through ``torch.compile``, each size and batch by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

_MOST_GRAPHS = 1 << 20
"""Graphs of one function beside each other. Beyond its own limit torch runs the function as it is, and says nothing a caller could see."""


COMPILER = "inductor"
"""What ``tokbench run --compile`` compiles by."""


def compiled(function: Callable[..., Any], backend: str) -> Callable[..., Any]:
    """Compile a function for the shapes it is called with.

    Args:
        function: A method of a tokenizer.
        backend: As ``torch.compile`` takes it.
    """
    return torch.compile(function, backend=backend, dynamic=False)


@contextmanager
def many_graphs() -> Iterator[None]:
    """Let as many graphs lie beside each other as are made, and forget them in the end."""
    import torch._dynamo

    config: Any = torch._dynamo.config
    older = not hasattr(config, "recompile_limit")  # before torch 2.7 the limits were called otherwise
    names = ("cache_size_limit", "accumulated_cache_size_limit") if older else ("recompile_limit", "accumulated_recompile_limit")
    with config.patch(dict.fromkeys(names, _MOST_GRAPHS)):
        try:
            yield
        finally:
            torch.compiler.reset()


def graphs_made() -> int:
    """How many graphs there have been in this process."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])
