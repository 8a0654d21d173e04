"""Features of images that a network may have seen before: out of the cache by the digests of their pixels, else computed and kept there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from tokbench.bench.cache import FeatureCache
from tokbench.bench.microbatch import in_micro_batches
from tokbench.bench.networks import FeatureNetwork


def features_of(network: FeatureNetwork, images: UInt8[Tensor, "b 3 h w"], *, size: int) -> np.ndarray:
    """Features ``[b, dim]``, float32, computed in micro-batches of a size."""
    found: np.ndarray = in_micro_batches(network.features, images, size=size).cpu().numpy()
    return found


def features_by_key(
    network: FeatureNetwork, cache: FeatureCache | None, images: UInt8[Tensor, "b 3 h w"], keys: Sequence[bytes], *, size: int
) -> np.ndarray:
    """Features ``[b, dim]`` of images whose digests are known.

    Args:
        network: Whose features.
        cache: Where features are looked for, and kept; None computes all.
        images: Their bytes.
        keys: Their digests.
        size: Images of a micro-batch.
    """
    if cache is None:
        return features_of(network, images, size=size)
    found = {i: row for i, key in enumerate(keys) if (row := cache.get(key)) is not None}
    missing = [i for i in range(len(keys)) if i not in found]
    if missing:
        for i, row in zip(missing, features_of(network, images[torch.tensor(missing)], size=size), strict=True):
            cache.put(keys[i], row)
            found[i] = row
    return np.stack([found[i] for i in range(len(keys))])
