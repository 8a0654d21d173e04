"""K-means by Lloyd's algorithm on exact nearest-neighbour search."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from tokbench.quantizers.base import single
from tokbench.quantizers.nearest import nearest_codes
from tokbench.together import count_rows, draw_rows, over_all


@torch.no_grad()
def kmeans(
    vectors: Float[Tensor, "n d"],
    size: int,
    generator: torch.Generator,
    *,
    iterations: int,
    start: Float[Tensor, "k d"] | None = None,
) -> Float[Tensor, "k d"]:
    """Cluster vectors. Processes that train together cluster those of all of them, and find the same centres.

    Args:
        vectors: At least ``size`` of them, in all processes; sums are taken in single precision whatever theirs is.
        size: Number of clusters.
        generator: Picks the starting centres, and new ones for clusters that end up empty.
        iterations: Lloyd steps.
        start: Centres to go on from; None picks vectors.

    Returns:
        Cluster centres.

    Raises:
        ValueError: If there are fewer vectors than clusters.
    """
    if (count := count_rows(vectors)) < size:
        raise ValueError(f"{count} vectors cannot make {size} clusters")
    vectors = single(vectors)
    centres = draw_rows(vectors, size, generator) if start is None else single(start)
    for _ in range(iterations):
        codes = nearest_codes(vectors, centres)
        counts = over_all(torch.bincount(codes, minlength=size))
        sums = over_all(torch.zeros_like(centres).index_add_(0, codes, vectors))
        centres = sums / counts[:, None].clamp_min(1)
        empty = (counts == 0).nonzero().flatten()
        if len(empty):
            centres[empty] = draw_rows(vectors, len(empty), generator)
    return centres
