"""Inception score of reconstructions (rIS).

    exp(mean over images of KL(p(class | image) || p(class)))

Paper: Salimans et al. 2016, "Improved Techniques for Training GANs".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tokbench.bench.cache import FeatureCache
from tokbench.bench.clusters import cluster_jackknife, without_clusters
from tokbench.bench.context import MetricContext
from tokbench.bench.inception import figures_on, open_inception
from tokbench.bench.metrics.base import Figure
from tokbench.bench.metrics.features import FeatureMetric
from tokbench.bench.networks import FeatureNetwork
from tokbench.bench.observation import Observation
from tokbench.records.figures import figures_of
from tokbench.records.left_out import CLUSTERS, cluster_of

UNIT = 2.0**-38
"""Probabilities and entropies are summed as whole numbers of this: such sums are the same in any order, for four million images."""

OTHER_WEIGHTS = {
    "ris": ("is", "Inception score of reconstructions with other weights than Inception's; grows with N"),
    "ris_original": ("is_original", "the same score of the originals"),
}


class RIS(FeatureMetric):
    """Inception score of all reconstructions at once, and that of the originals. What is kept does not grow with the images.

    Others take the mean over ten parts, which is lower: the score grows with the number of images. Logits are without their biases, as
    in torch-fidelity. With other weights than the published ones it is ``is[inception:DIGEST]``.

    Args:
        network: Whose classes.
        cache: Cache of the originals' features; None computes them anew.
        micro_batch: Images a network pass.

    Attributes:
        counts: Images of each cluster, ``[clusters]``.
        shares: Sums of probabilities, of originals and of reconstructions, ``[2, clusters, classes]``.
        entropies: Sums of ``p log p``, ``[2, clusters]``.
    """

    name = "ris"
    figures = figures_of(name)
    counts: Tensor
    shares: Tensor
    entropies: Tensor

    def __init__(self, network: FeatureNetwork, cache: FeatureCache | None, *, micro_batch: int) -> None:
        super().__init__(network, cache, micro_batch=micro_batch)
        if network.classes is None:
            raise ValueError(f"{network.name} has no classes")
        self._classes = network.classes.double()
        self._uncounted: list[tuple[tuple[str, ...], Tensor]] = []  # groups and features that are on a device
        shapes = {"counts": (CLUSTERS,), "shares": (2, CLUSTERS, len(network.classes)), "entropies": (2, CLUSTERS)}
        for key, shape in shapes.items():
            self.add_state(key, default=torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    @classmethod
    def create(cls, context: MetricContext) -> RIS:
        """Build it with the Inception weights: given, fetched, or in torch's hub cache.

        Raises:
            TokbenchError: If there are none, or those in a cache are not the published ones.
        """
        network = open_inception(context)
        metric = cls(network, FeatureCache(context.cache, network) if context.cache else None, micro_batch=context.micro_batch)
        metric.figures = figures_on(network, cls.figures, OTHER_WEIGHTS)
        return metric

    @property
    def settings(self) -> dict[str, Any]:
        """The network's settings, and how the score is taken."""
        return super().settings | {"logits": f"{len(self._classes)}, without biases", "splits": 1}

    def update(self, observation: Observation) -> None:
        """Take one micro-batch in."""
        pairs = self.pairs(observation)
        if pairs.device.type == "cpu":
            self._count(observation.groups, pairs)
        else:
            self._uncounted.append((observation.groups, pairs))

    def settle(self) -> None:
        """Look at the classes of features that are on a device."""
        super().settle()
        for groups, pairs in self._uncounted:
            self._count(groups, pairs.cpu())
        self._uncounted = []

    def _count(self, groups: Sequence[str], pairs: Tensor) -> None:
        for group, both in zip(groups, pairs.double(), strict=True):
            cluster = cluster_of(group)
            self.counts[cluster] += 1
            for side, features in enumerate(both):
                logs = (self._classes @ features).log_softmax(dim=0)  # one by one: batched, products round with others beside them
                shares = logs.exp()
                self.shares[side, cluster] += _whole(shares)
                self.entropies[side, cluster] += _whole(shares @ logs)

    def report(self) -> dict[str, Figure]:
        """Return the scores of reconstructions and originals, with their intervals over clusters of groups."""
        self.settle()
        clusters = tuple(self.counts.nonzero().flatten().tolist())

        def figure(side: int) -> Figure:
            value = self._score(side, clusters)
            without = without_clusters(lambda left_out: self._score(side, tuple(c for c in clusters if c != left_out)), clusters)
            return Figure(value, cluster_jackknife(value, lambda some: self._score(side, some), clusters), without=without, part="cluster")

        return {info.key: figure(side) for info, side in zip(self.figures, (1, 0), strict=True)}

    def _score(self, side: int, clusters: tuple[int, ...]) -> float:
        """The score of the images of some clusters."""
        some = list(clusters)
        count = int(self.counts[some].sum())
        shares = self.shares[side, some].sum(dim=0).double() * UNIT / count
        within = float(self.entropies[side, some].sum()) * UNIT / count
        return float((within - torch.special.xlogy(shares, shares).sum()).exp())


def _whole(values: Tensor) -> Tensor:
    return (values / UNIT).round().to(torch.int64)
