"""Fréchet distance on EfficientNet-Lite0 that is given what a protocol gives the network of rFID: it stands in where that is not at hand."""

from __future__ import annotations

from dataclasses import replace

from tokbench.bench.cache import FeatureCache
from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.frechet import FrechetMetric
from tokbench.bench.networks import efficientnet_lite0
from tokbench.records.figures import figures_of


class FDEffLite0At299(FrechetMetric):
    """Fréchet distance of 1280 features of EfficientNet-Lite0, of images resized to 299 px and rounded as the protocol has it for rFID.

    Not FID: how much it moves from protocol to protocol says what resize and rounding do to a network, not to Inception.
    """

    name = "fd_efflite0_299"
    figures = figures_of(name)

    @classmethod
    def create(cls, context: MetricContext) -> FDEffLite0At299:
        """Build it with the weights of the installed package."""
        rules = context.rules
        network = replace(efficientnet_lite0(context.device, resize=rules.fid_resize), pixels=rules.fid_pixels)
        return cls(network, FeatureCache(context.cache, network) if context.cache else None, micro_batch=context.micro_batch)
