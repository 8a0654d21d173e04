"""What distances between features share: a network, the features of both sides, and those of originals from a cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from tokbench.bench.cache import FeatureCache
from tokbench.bench.feature_pass import features_by_key, features_of
from tokbench.bench.metrics.base import ByImage
from tokbench.bench.networks import FeatureNetwork
from tokbench.bench.observation import Observation
from tokbench.bench.torchmetric import Metric as TorchMetric


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
        self._fresh: list[tuple[bytes, Tensor]] = []  # features of originals that are on a device, and not in the cache yet

    @property
    def settings(self) -> dict[str, Any]:
        """The network's settings, and what is compared with what."""
        pixels = {} if self.network.pixels == "bytes" else {"pixels": self.network.pixels}
        return self.network.settings | {"reference": "the same images", "micro_batch": self.micro_batch} | pixels

    def merge_state(self, incoming_state: dict[str, Any] | TorchMetric) -> None:
        """Take in what another instance has seen of other images of the same run.

        Raises:
            ValueError: If it is of another kind or network, or has another listing.
        """
        if isinstance(incoming_state, FeatureMetric) and incoming_state.network.settings != self.network.settings:
            raise ValueError(f"{type(self).__name__} merges with its own network only")
        super().merge_state(incoming_state)

    def settle(self) -> None:
        """Give the cache the features of originals that are on a device."""
        if self.cache is not None and self._fresh:
            keys, rows = zip(*self._fresh, strict=True)
            for key, row in zip(keys, torch.stack(rows).cpu().numpy(), strict=True):
                self.cache.put(key, row)
        self._fresh = []

    def finish(self) -> None:
        """Write the cache."""
        self.settle()
        if self.cache is not None:
            self.cache.flush()

    def pairs(self, observation: Observation) -> Float32[Tensor, "b 2 d"]:
        """Features of originals and reconstructions."""
        return torch.stack([self.originals(observation), self.reconstructions(observation)], dim=1)

    def originals(self, observation: Observation) -> Float32[Tensor, "b d"]:
        """Features of originals; several metrics whose network sees the same compute them once."""
        pixels = self.network.pixels
        keys = observation.keys if pixels == "bytes" else observation.keys_read

        def compute() -> Tensor:
            return features_by_key(
                self.network, self.cache, observation.levels(pixels)[0], keys, size=self.micro_batch, later=self._fresh.append
            )

        return self._once(observation, f"originals {b''.join(keys).hex()}", compute)

    def reconstructions(self, observation: Observation) -> Float32[Tensor, "b d"]:
        """Features of reconstructions, likewise computed once."""
        pixels = self.network.pixels

        def compute() -> Tensor:
            return features_of(self.network, observation.levels(pixels)[1], size=self.micro_batch)

        return self._once(observation, f"reconstructions {observation.seen(pixels)}", compute)

    def _once(self, observation: Observation, what: str, compute: Callable[[], Tensor]) -> Tensor:
        key = f"{what} {self.micro_batch} {self.network.work(*observation.reference.shape[2:])}"
        if key not in observation.shared:
            observation.shared[key] = compute()
        found: Tensor = observation.shared[key]
        return found


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
