"""K-means by Lloyd's algorithm on exact nearest-neighbour search."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from tokbench.quantizers.base import single
from tokbench.quantizers.nearest import nearest_codes


@torch.no_grad()
def kmeans(
    vectors: Float[Tensor, "n d"],
    size: int,
    generator: torch.Generator,
    *,
    iterations: int,
    start: Float[Tensor, "k d"] | None = None,
) -> Float[Tensor, "k d"]:
    """Cluster vectors.

    Args:
        vectors: At least ``size`` of them; sums are taken in single precision whatever theirs is.
        size: Number of clusters.
        generator: Picks the starting centres, and new ones for clusters that end up empty.
        iterations: Lloyd steps.
        start: Centres to go on from; None picks vectors.

    Returns:
        Cluster centres.

    Raises:
        ValueError: If there are fewer vectors than clusters.
    """
    if len(vectors) < size:
        raise ValueError(f"{len(vectors)} vectors cannot make {size} clusters")
    vectors = single(vectors)
    centres = vectors[_pick(vectors, size, generator)].clone() if start is None else single(start)
    for _ in range(iterations):
        codes = nearest_codes(vectors, centres)
        counts = torch.bincount(codes, minlength=size)
        sums = torch.zeros_like(centres).index_add_(0, codes, vectors)
        centres = sums / counts[:, None].clamp_min(1)
        empty = (counts == 0).nonzero().flatten()
        if len(empty):
            centres[empty] = vectors[_pick(vectors, len(empty), generator)]
    return centres


def _pick(vectors: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(len(vectors), generator=generator)[:count].to(vectors.device)
