"""Kernel distance on EfficientNet-Lite0: like KID, on a network that is free, small and trained by nobody's tokenizer."""

from __future__ import annotations

from tokbench.bench.cache import FeatureCache
from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.kernel import KernelMetric
from tokbench.bench.networks import efficientnet_lite0
from tokbench.records.figures import figures_of


class KDEffLite0(KernelMetric):
    """Kernel distance of 1280 features of EfficientNet-Lite0. Not KID, which is on Inception and counts more pairs.

    An image and its own reconstruction count as no pair, and exact reconstructions give 0.
    """

    name = "kd_efflite0"
    figures = figures_of(name)
    paired = True

    @classmethod
    def create(cls, context: MetricContext) -> KDEffLite0:
        """Build it with the weights of the installed package."""
        network = efficientnet_lite0(context.device)
        return cls(network, FeatureCache(context.cache, network) if context.cache else None, micro_batch=context.micro_batch)
