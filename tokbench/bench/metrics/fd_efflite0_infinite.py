"""Fréchet distance on EfficientNet-Lite0 at infinite sample size."""

from __future__ import annotations

from tokbench.bench.cache import FeatureCache
from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.infinite import InfiniteFrechet
from tokbench.bench.networks import efficientnet_lite0
from tokbench.records.figures import figures_of


class FDEffLite0Infinite(InfiniteFrechet):
    """``fd_efflite0`` as infinitely many images would have it, and ``fd_efflite0_bias``, by how much these images are above it."""

    name = "fd_efflite0_infinite"
    figures = figures_of(name)

    @classmethod
    def create(cls, context: MetricContext) -> FDEffLite0Infinite:
        """Build it with the weights of the installed package."""
        network = efficientnet_lite0(context.device)
        return cls(network, FeatureCache(context.cache, network) if context.cache else None, micro_batch=context.micro_batch)
