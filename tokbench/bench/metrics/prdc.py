"""Precision, recall, density and coverage of reconstructions among originals, on the Inception network of 2015-12-05."""

from __future__ import annotations

from typing import Any

from tokbench.bench.cache import FeatureCache
from tokbench.bench.context import MetricContext
from tokbench.bench.inception import figures_on, open_inception
from tokbench.bench.metrics.base import Figure, mean_without, sum_exactly
from tokbench.bench.metrics.features import AllFeatures
from tokbench.bench.neighbours import overlap
from tokbench.bench.observation import Subject
from tokbench.counting import counted
from tokbench.records.figures import figures_of
from tokbench.records.intervals import Interval, group_bootstrap

NEAR, WIDE = 3, 5
"""Neighbours that make a ball: of precision and recall, and of density and coverage, as their authors choose."""

OTHER_WEIGHTS = "on features of other weights than Inception's; only comparable at equal N"


class PRDC(AllFeatures):
    """How the features of reconstructions overlap with those of originals, by balls that reach to the k-th nearest neighbour.

    A reconstruction and its own original count as a pair, as in any set of samples and references. With other weights than the published
    ones figures are ``precision[inception:DIGEST]`` and so on. Intervals and paired tests resample groups and keep the balls as they are.
    """

    name = "prdc"
    figures = figures_of(name)

    @classmethod
    def create(cls, context: MetricContext) -> PRDC:
        """Build it with the Inception weights: given, fetched, or in torch's hub cache.

        Raises:
            TokbenchError: If there are none, or those in a cache are not the published ones.
        """
        network = open_inception(context)
        metric = cls(network, FeatureCache(context.cache, network) if context.cache else None, micro_batch=context.micro_batch)
        others = {info.key: (info.key, f"{info.title} of reconstructions {OTHER_WEIGHTS}") for info in cls.figures}
        metric.figures = figures_on(network, cls.figures, others)
        return metric

    @property
    def settings(self) -> dict[str, Any]:
        """The network's settings, and the neighbours that make a ball."""
        return super().settings | {"neighbours": f"{NEAR} of precision and recall, {WIDE} of density and coverage"}

    def not_applicable(self, subject: Subject) -> str | None:
        """There must be neighbours."""
        return f"{counted(subject.images, 'image')}; neighbours number {WIDE} need more" if subject.images <= WIDE else None

    def report(self) -> dict[str, Figure]:
        """Return the four figures and their intervals over groups."""
        before, after, groups = self.ordered()
        found = overlap(before, after, near=NEAR, wide=WIDE)
        report = {}
        for info, values in zip(self.figures, (found.precision, found.recall, found.density, found.coverage), strict=True):
            interval = group_bootstrap(values.tolist(), groups)
            kept = interval and Interval(interval.low, interval.high, f"{interval.method}, balls kept")
            report[info.key] = Figure(sum_exactly(values.tolist()) / len(values), kept, without=mean_without(values.tolist(), groups))
        return report
