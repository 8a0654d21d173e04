"""Work on tables of N vectors times K codes a slice of vectors at a time, recomputed in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor
from torch.utils.checkpoint import checkpoint

ELEMENTS = 2**23
"""Entries of one slice of the table: 32 MB in single precision, and a few such tables at a time."""


def over_slices(function: Callable[..., tuple[Tensor, ...]], *rows: Tensor, width: int) -> Iterator[tuple[Tensor, ...]]:
    """Call a function on slices of rows, keeping none of what it computes on the way.

    Args:
        function: Gets one slice of each tensor; other tensors it may hold on to, they get their gradients too. Called again
            in the backward pass, so it must not draw random numbers.
        *rows: Tensors of the same length.
        width: K, what the function makes of one row.

    Yields:
        What the function returns, slice by slice; one empty slice if there are no rows.
    """
    step = max(1, ELEMENTS // width)
    for start in range(0, max(1, len(rows[0])), step):
        slices = (tensor[start : start + step] for tensor in rows)
        yield checkpoint(function, *slices, use_reentrant=False, preserve_rng_state=False)
