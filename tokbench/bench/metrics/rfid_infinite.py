"""Reconstruction FID at infinite sample size, on the Inception network of 2015-12-05."""

from __future__ import annotations

from tokbench.bench.cache import FeatureCache
from tokbench.bench.context import MetricContext
from tokbench.bench.inception import figures_on, open_inception
from tokbench.bench.metrics.infinite import InfiniteFrechet
from tokbench.records.figures import figures_of

OTHER_WEIGHTS = {
    "rfid_infinite": ("fd_infinite", "the Fréchet distance on features of other weights than FID's that infinitely many images would have"),
    "rfid_bias": ("fd_bias", "how much the Fréchet distance of these images is above that of infinitely many"),
}


class RFIDInfinite(InfiniteFrechet):
    """``rfid`` as infinitely many images would have it, and ``rfid_bias``, by how much these images are above it.

    With other weights than the published ones figures are ``fd_infinite[inception:DIGEST]`` and ``fd_bias[inception:DIGEST]``.
    """

    name = "rfid_infinite"
    figures = figures_of(name)

    @classmethod
    def create(cls, context: MetricContext) -> RFIDInfinite:
        """Build it with the Inception weights: given, fetched, or in torch's hub cache.

        Raises:
            TokbenchError: If there are none, or those in a cache are not the published ones.
        """
        network = open_inception(context)
        metric = cls(network, FeatureCache(context.cache, network) if context.cache else None, micro_batch=context.micro_batch)
        metric.figures = figures_on(network, cls.figures, OTHER_WEIGHTS)
        return metric
