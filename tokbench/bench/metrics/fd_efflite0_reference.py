"""Fréchet distance on EfficientNet-Lite0 against a reference of others: what ``fid`` is on Inception, without a download."""

from __future__ import annotations

from tokbench.bench.cache import FeatureCache
from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.to_reference import ReferenceFrechet, reference_of
from tokbench.bench.networks import efficientnet_lite0
from tokbench.records.figures import figures_of


class FDEffLite0Reference(ReferenceFrechet):
    """Fréchet distance of features of EfficientNet-Lite0 between the reference given and reconstructions. Not FID."""

    name = "fd_efflite0_reference"
    figures = figures_of(name)

    @classmethod
    def create(cls, context: MetricContext) -> FDEffLite0Reference:
        """Build it with the weights of the installed package.

        Raises:
            TokbenchError: If there is no reference.
        """
        reference, network = reference_of(context, cls.name, "fd_efflite0"), efficientnet_lite0(context.device)
        cache = FeatureCache(context.cache, network) if context.cache else None
        return cls(network, cache, micro_batch=context.micro_batch, reference=reference, device=context.device)
