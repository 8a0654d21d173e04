"""Fréchet distance on EfficientNet-Lite0: like FID, on a network that is free, small and trained by nobody's tokenizer."""

from __future__ import annotations

from tokbench.bench.cache import FeatureCache
from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.frechet import FrechetMetric
from tokbench.bench.networks import efficientnet_lite0
from tokbench.records.figures import figures_of


class FDEffLite0(FrechetMetric):
    """Fréchet distance of 1280 features of EfficientNet-Lite0. Not FID: figures compare only with others of this name and N."""

    name = "fd_efflite0"
    figures = figures_of(name)
    companion = "fd_efflite0_reference"

    @classmethod
    def create(cls, context: MetricContext) -> FDEffLite0:
        """Build it with the weights of the installed package."""
        network = efficientnet_lite0(context.device)
        return cls(network, FeatureCache(context.cache, network) if context.cache else None, micro_batch=context.micro_batch)
