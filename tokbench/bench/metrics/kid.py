"""Kernel Inception distance (KID) on the Inception network of 2015-12-05. Paper: Binkowski et al. 2018, "Demystifying MMD GANs"."""

from __future__ import annotations

from tokbench.bench.cache import FeatureCache
from tokbench.bench.context import MetricContext
from tokbench.bench.inception import figures_on, open_inception
from tokbench.bench.metrics.kernel import KernelMetric
from tokbench.records.figures import figures_of

OTHER_WEIGHTS = "kernel distance between originals and reconstructions on features of other weights than KID's, unbiased at any N"


class KID(KernelMetric):
    """KID between originals and their reconstructions, over all pairs: what the mean over random subsets, as others take it, tends to.

    As others do, it counts an image and its own reconstruction as a pair. These are alike, and draw it below 0 where images are few.
    With other weights than the published ones it is ``kd[inception:DIGEST]``.
    """

    name = "kid"
    figures = figures_of(name)
    paired = False

    @classmethod
    def create(cls, context: MetricContext) -> KID:
        """Build it with the Inception weights: given, fetched, or in torch's hub cache.

        Raises:
            TokbenchError: If there are none, or those in a cache are not the published ones.
        """
        network = open_inception(context)
        metric = cls(network, FeatureCache(context.cache, network) if context.cache else None, micro_batch=context.micro_batch)
        metric.figures = figures_on(network, cls.figures, {"kid": ("kd", OTHER_WEIGHTS)})
        return metric
