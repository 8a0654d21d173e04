"""Kernel distance on EfficientNet-Lite0: like KID, on a network that is free, small and trained by nobody's tokenizer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tokbench.bench.cache import FeatureCache
from tokbench.bench.context import MetricContext
from tokbench.bench.kernel import kernel_distance
from tokbench.bench.metrics.base import Figure
from tokbench.bench.metrics.features import FeatureMetric
from tokbench.bench.networks import FeatureNetwork, efficientnet_lite0
from tokbench.bench.observation import Observation, Subject
from tokbench.records.figures import figures_of
from tokbench.records.intervals import group_jackknife

MOST_WITH_INTERVAL = 2048
"""Images up to which the distance is computed without each fold of them too, which takes ten times as long."""


class KDEffLite0(FeatureMetric):
    """Kernel distance of 1280 features of EfficientNet-Lite0, unbiased at any number of images. Not KID, which is on Inception.

    An image and its own reconstruction count as no pair, and exact reconstructions give 0. Ten kilobytes are kept of every image.

    Args:
        network: Whose features.
        cache: Cache of the originals' features; None computes them anew.
        micro_batch: Images a network pass.

    Attributes:
        features: Features of originals and reconstructions, ``[n, 2, dim]``.
    """

    name = "kd_efflite0"
    figures = figures_of(name)
    features: list[Tensor]

    def __init__(self, network: FeatureNetwork, cache: FeatureCache | None, *, micro_batch: int) -> None:
        super().__init__(network, cache, micro_batch=micro_batch)
        self.add_rows("features", 2, network.dim, dtype=torch.float32)

    @classmethod
    def create(cls, context: MetricContext) -> KDEffLite0:
        """Build it with the weights of the installed package."""
        network = efficientnet_lite0(context.device)
        return cls(network, FeatureCache(context.cache, network) if context.cache else None, micro_batch=context.micro_batch)

    @property
    def settings(self) -> dict[str, Any]:
        """The network's settings, and the kernel."""
        return super().settings | {
            "kernel": "(x . y / d + 1)^3, all pairs but those of an image with itself or its reconstruction, float64"
        }

    def not_applicable(self, subject: Subject) -> str | None:
        """One image has no other to be compared with."""
        return "one image; a kernel distance needs at least 2" if subject.images < 2 else None

    def update(self, observation: Observation) -> None:
        """Take one micro-batch in."""
        self.features.append(self.pairs(observation))
        self.note(observation)

    def report(self) -> dict[str, Figure]:
        """Return the distance; with an interval over groups where the images are few enough."""
        order, groups = self.all_rows("images").argsort().numpy(), self.seen().groups
        before, after = (self.all_rows("features")[:, side].double().numpy()[order] for side in (0, 1))

        def distance(keep: np.ndarray) -> float:
            return kernel_distance(before[keep], after[keep], paired=True)

        value = distance(np.ones(len(order), dtype=bool))
        few = len(order) <= MOST_WITH_INTERVAL
        interval = group_jackknife(value, distance, [groups[i] for i in order]) if few else None
        return {self.figures[0].key: Figure(value, interval)}
