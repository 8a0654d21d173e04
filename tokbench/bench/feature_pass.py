"""Features of images that a network may have seen before: out of the cache by the digests of their pixels, else computed and kept there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from tokbench.bench.cache import FeatureCache
from tokbench.bench.microbatch import in_micro_batches
from tokbench.bench.networks import FeatureNetwork
from tokbench.sending import moved


def features_of(network: FeatureNetwork, images: UInt8[Tensor, "b 3 h w"], *, size: int) -> Tensor:
    """Features ``[b, dim]``, float32, where the images are, computed in micro-batches of a size."""
    return in_micro_batches(network.features, images, size=size)


def features_by_key(
    network: FeatureNetwork,
    cache: FeatureCache | None,
    images: UInt8[Tensor, "b 3 h w"],
    keys: Sequence[bytes],
    *,
    size: int,
    later: Callable[[tuple[bytes, Tensor]], object] | None = None,
) -> Tensor:
    """Features ``[b, dim]`` of images whose digests are known.

    Args:
        network: Whose features.
        cache: Where features are looked for, and kept; None computes all.
        images: Their bytes.
        keys: Their digests.
        size: Images of a micro-batch.
        later: Takes the digests and features of images that the cache does not know, where these are on a device; None waits for them.
    """
    if cache is None:
        return features_of(network, images, size=size)
    known = {i: row for i, key in enumerate(keys) if (row := cache.get(key)) is not None}
    missing = [i for i in range(len(keys)) if i not in known]
    found: dict[int, Tensor] = {}
    if known:
        found |= zip(known, moved(torch.from_numpy(np.stack(list(known.values()))), images.device), strict=True)
    if missing:
        rows = features_of(network, torch.stack([images[i] for i in missing]), size=size)  # places in a tensor would be waited for
        found |= zip(missing, rows, strict=True)
        if later is not None and images.device.type != "cpu":
            for i in missing:
                later((keys[i], found[i]))
        else:
            for i, row in zip(missing, rows.cpu().numpy(), strict=True):
                cache.put(keys[i], row)
    return torch.stack([found[i] for i in range(len(keys))])
