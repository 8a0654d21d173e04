"""What the kernel distances share: features of both sides, the distance and its interval."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from tokbench.bench.cache import FeatureCache
from tokbench.bench.kernel import kernel_distance, kernel_distances_without
from tokbench.bench.metrics.base import Figure
from tokbench.bench.metrics.features import FeatureMetric
from tokbench.bench.networks import FeatureNetwork
from tokbench.bench.observation import Observation, Subject
from tokbench.records.intervals import FEWEST_FOLDS, jackknife_interval


class KernelMetric(FeatureMetric):
    """Kernel distance between the features of originals and reconstructions, unbiased at any number of images.

    The features of every image are kept: eight bytes for each of them and of their number.

    Args:
        network: Whose features.
        cache: Cache of the originals' features; None computes them anew.
        micro_batch: Images a network pass.

    Attributes:
        paired: Whether an image and its own reconstruction count as no pair.
        features: Features of originals and reconstructions, ``[n, 2, dim]``.
    """

    paired: ClassVar[bool]
    features: list[Tensor]

    def __init__(self, network: FeatureNetwork, cache: FeatureCache | None, *, micro_batch: int) -> None:
        super().__init__(network, cache, micro_batch=micro_batch)
        self.add_rows("features", 2, network.dim, dtype=torch.float32)

    @property
    def settings(self) -> dict[str, Any]:
        """The network's settings, and the kernel."""
        left_out = "itself or its reconstruction" if self.paired else "itself"
        return super().settings | {"kernel": f"(x . y / d + 1)^3, all pairs but those of an image with {left_out}, float64"}

    def not_applicable(self, subject: Subject) -> str | None:
        """One image has no other to be compared with."""
        return "one image; a kernel distance needs at least 2" if subject.images < 2 else None

    def update(self, observation: Observation) -> None:
        """Take one micro-batch in."""
        self.features.append(self.pairs(observation))
        self.note(observation)

    def report(self) -> dict[str, Figure]:
        """Return the distance and its interval over groups."""
        order, groups = self.all_rows("images").argsort(), self.seen().groups
        before, after = self.all_rows("features")[order].unbind(dim=1)
        names = [groups[i] for i in order.tolist()]
        count = len(set(names))
        if count < FEWEST_FOLDS:
            return {self.figures[0].key: Figure(kernel_distance(before.numpy(), after.numpy(), paired=self.paired))}
        value, without = kernel_distances_without(before.numpy(), after.numpy(), names, paired=self.paired)
        return {self.figures[0].key: Figure(value, jackknife_interval(value, without, f"jackknife of {count} groups"))}
