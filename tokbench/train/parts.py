"""How networks run that are trained: a few images at a time, compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tokbench.errors import TokbenchError

Forward = Callable[..., Tensor]


def adapt(network: nn.Module, *, micro_batch: int | None, compiled: bool, apart: nn.Module | None = None) -> None:
    """Have a network run otherwise, with the same results but for rounding.

    Args:
        network: Changed in place; its parameters keep their names.
        micro_batch: Images it sees at once. What it computed for them is computed again for their gradient. So memory is needed for these
            alone, and the time of one more pass. None lets it see all.
        compiled: Whether it is compiled by ``torch.compile``.
        apart: A layer of it whose gradient is also taken by itself, which cannot be done through compiled ones; it is not compiled.
    """
    if compiled and apart is not None:
        apart.forward = torch.compiler.disable(apart.forward)
    if compiled:  # in its place: a wrapper would give its parameters other names
        network.forward = _compiled(network.forward)
    if micro_batch is not None:
        network.forward = _in_parts(network.forward, micro_batch)


def _in_parts(forward: Forward, size: int) -> Forward:
    """Run a network on parts of a batch; every tensor it takes that has as many rows as the first is taken apart."""

    def call(first: Tensor, *others: Any) -> Tensor:
        rows = len(first)
        if rows <= size:
            return forward(first, *others)
        parts = []
        for start in range(0, rows, size):
            part = slice(start, start + size)
            taken = [value[part] if isinstance(value, Tensor) and value.shape[:1] == (rows,) else value for value in (first, *others)]
            parts.append(checkpoint(forward, *taken, use_reentrant=False, preserve_rng_state=False))
        return torch.cat(parts)

    return call


def _compiled(forward: Forward) -> Forward:
    compiled = torch.compile(forward, dynamic=False)  # a part must be computed again by the code that computed it, whatever came between

    def call(*values: Any) -> Tensor:
        try:
            return compiled(*values)
        except Exception as error:
            if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                why = " ".join(str(error).split())[:200]
                raise TokbenchError(f"the networks cannot be compiled here ({why}); leave --compile out") from error
            raise

    return call
