"""Reconstruction FID on the Inception network of 2015-12-05, with the TF1 resize of the original."""

from __future__ import annotations

from tokbench.bench.cache import FeatureCache
from tokbench.bench.context import MetricContext
from tokbench.bench.inception import figures_on, open_inception
from tokbench.bench.metrics.frechet import FrechetMetric
from tokbench.records.figures import figures_of

OTHER_WEIGHTS = "Fréchet distance between originals and reconstructions on features of other weights than FID's; only comparable at equal N"


class RFID(FrechetMetric):
    """FID between originals and their reconstructions.

    With other weights than the published ones it is ``fd[inception:DIGEST]``: another figure with a row of its own, never ``rfid``.
    """

    name = "rfid"
    figures = figures_of(name)

    @classmethod
    def create(cls, context: MetricContext) -> RFID:
        """Build it with the Inception weights: given, fetched, or in torch's hub cache.

        Raises:
            TokbenchError: If there are none, or those in a cache are not the published ones.
        """
        network = open_inception(context)
        metric = cls(network, FeatureCache(context.cache, network) if context.cache else None, micro_batch=context.micro_batch)
        metric.figures = figures_on(network, cls.figures, {"rfid": ("fd", OTHER_WEIGHTS)})
        return metric
