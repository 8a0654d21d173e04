"""What distances between features share: a network, the features of both sides, and those of originals from a cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
        pixels = {} if self.network.pixels == "bytes" else {"pixels": self.network.pixels}
        return self.network.settings | {"reference": "the same images", "micro_batch": self.micro_batch} | pixels

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
        """Features of originals and reconstructions."""
        return torch.stack([self.originals(observation), self.reconstructions(observation)], dim=1)

    def originals(self, observation: Observation) -> Float32[Tensor, "b d"]:
        """Features of originals; several metrics whose network sees the same compute them once."""
        pixels = self.network.pixels
        keys = observation.keys if pixels == "bytes" else observation.keys_read
        what = f"originals {b''.join(keys).hex()}"
        return self._once(observation, what, lambda: self._reference_features(observation.levels(pixels)[0], keys))

    def reconstructions(self, observation: Observation) -> Float32[Tensor, "b d"]:
        """Features of reconstructions, likewise computed once."""
        pixels = self.network.pixels
        return self._once(observation, f"reconstructions {observation.seen(pixels)}", lambda: self._features(observation.levels(pixels)[1]))

    def _once(self, observation: Observation, what: str, compute: Callable[[], np.ndarray]) -> Tensor:
        key = f"{what} {self.micro_batch} {self.network.work(*observation.reference.shape[2:])}"
        if key not in observation.shared:
            observation.shared[key] = torch.from_numpy(compute())
        found: Tensor = observation.shared[key]
        return found

    def _features(self, images: Tensor) -> np.ndarray:
        return in_micro_batches(self.network.features, images, size=self.micro_batch).cpu().numpy()

    def _reference_features(self, images: Tensor, keys: Sequence[bytes]) -> np.ndarray:
        cache = self.cache
        if cache is None:
            return self._features(images)
        found = {i: row for i, key in enumerate(keys) if (row := cache.get(key)) is not None}
        missing = [i for i in range(len(keys)) if i not in found]
        if missing:
            for i, row in zip(missing, self._features(images[torch.tensor(missing)]), strict=True):
                cache.put(keys[i], row)
                found[i] = row
        return np.stack([found[i] for i in range(len(keys))])


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
