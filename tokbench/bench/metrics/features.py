"""What distances between features share: a network, the features of both sides, and those of originals from a cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torchmetrics
from jaxtyping import Float32
from torch import Tensor

from tokbench.bench.cache import FeatureCache
from tokbench.bench.metrics.base import ByImage
from tokbench.bench.microbatch import in_micro_batches
from tokbench.bench.networks import FeatureNetwork
from tokbench.bench.observation import Observation
from tokbench.configs import canonical_json


class FeatureMetric(ByImage):
    """A distance between the features of originals and reconstructions.

    Args:
        network: Whose features.
        cache: Cache of the originals' features; None computes them anew.
        micro_batch: Images a network pass.
    """

    def __init__(self, network: FeatureNetwork, cache: FeatureCache | None, *, micro_batch: int) -> None:
        super().__init__()
        self.network, self.cache, self.micro_batch = network, cache, micro_batch

    @property
    def settings(self) -> dict[str, Any]:
        """The network's settings, and what is compared with what."""
        return self.network.settings | {"reference": "the same images", "micro_batch": self.micro_batch}

    def merge_state(self, incoming_state: dict[str, Any] | torchmetrics.Metric) -> None:
        """Take in what another instance has seen of other images of the same run.

        Raises:
            ValueError: If it is of another kind or network, or has another listing.
        """
        if isinstance(incoming_state, FeatureMetric) and incoming_state.network.settings != self.network.settings:
            raise ValueError(f"{type(self).__name__} merges with its own network only")
        super().merge_state(incoming_state)

    def finish(self) -> None:
        """Write the cache."""
        if self.cache is not None:
            self.cache.flush()

    def pairs(self, observation: Observation) -> Float32[Tensor, "b 2 d"]:
        """Features of originals and reconstructions; several metrics on one network compute them once."""
        key = canonical_json([self.network.name, self.network.settings, self.micro_batch])
        if key not in observation.shared:
            both = np.stack([self._reference_features(observation), self._features(observation.reconstruction)], axis=1)
            observation.shared[key] = torch.from_numpy(both)
        found: Tensor = observation.shared[key]
        return found

    def _features(self, images: Tensor) -> np.ndarray:
        return in_micro_batches(self.network.features, images, size=self.micro_batch).cpu().numpy()

    def _reference_features(self, observation: Observation) -> np.ndarray:
        cache = self.cache
        if cache is None:
            return self._features(observation.reference)
        found = {i: row for i, key in enumerate(observation.keys) if (row := cache.get(key)) is not None}
        missing = [i for i in range(len(observation)) if i not in found]
        if missing:
            for i, row in zip(missing, self._features(observation.reference[torch.tensor(missing)]), strict=True):
                cache.put(observation.keys[i], row)
                found[i] = row
        return np.stack([found[i] for i in range(len(observation))])


class AllFeatures(FeatureMetric):
    """A distance that needs the features of all images at once: eight bytes are kept for each of them and of their number.

    Args:
        network: Whose features.
        cache: Cache of the originals' features; None computes them anew.
        micro_batch: Images a network pass.

    Attributes:
        features: Features of originals and reconstructions, ``[n, 2, dim]``.
    """

    features: list[Tensor]

    def __init__(self, network: FeatureNetwork, cache: FeatureCache | None, *, micro_batch: int) -> None:
        super().__init__(network, cache, micro_batch=micro_batch)
        self.add_rows("features", 2, network.dim, dtype=torch.float32)

    def update(self, observation: Observation) -> None:
        """Take one micro-batch in."""
        self.features.append(self.pairs(observation))
        self.note(observation)

    def ordered(self) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Features of originals and reconstructions, ``[n, dim]``, and the groups of their images, in the order of the listing."""
        order, groups = self.all_rows("images").argsort(), self.seen().groups
        before, after = self.all_rows("features")[order].unbind(dim=1)
        return before.numpy(), after.numpy(), [groups[i] for i in order.tolist()]
