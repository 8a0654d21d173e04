"""FID of reconstructions against a reference of others, with the input that each of four implementations gives the network."""

from __future__ import annotations

from typing import ClassVar

from tokbench.bench.cache import FeatureCache
from tokbench.bench.context import MetricContext
from tokbench.bench.inception import figures_on, open_inception
from tokbench.bench.inception_input import BACKENDS
from tokbench.bench.metrics.to_reference import ReferenceFrechet, reference_of
from tokbench.records.figures import figures_of

OTHER_WEIGHTS = (
    "Fréchet distance between a reference and reconstructions on features of other weights than FID's; only comparable at equal N"
)


class FID(ReferenceFrechet):
    """FID between the reference given and reconstructions, with the input that the protocol names: by default that of torch-fidelity.

    With other weights than the published ones it is ``fd_reference[inception:DIGEST]``.

    Attributes:
        backend: The implementation whose input the network is given, see ``tokbench.bench.inception_input``; empty where the protocol says.
    """

    name = "fid"
    figures = figures_of(name)
    backend: ClassVar[str] = ""

    @classmethod
    def create(cls, context: MetricContext) -> FID:
        """Build it with the Inception weights: given, fetched, or in torch's hub cache.

        Raises:
            TokbenchError: If there are none, those in a cache are not the published ones, or there is no reference.
        """
        reference = reference_of(context, cls.name, f"r{cls.name}")
        network = open_inception(context, BACKENDS.get(cls.backend))
        cache = FeatureCache(context.cache, network) if context.cache else None
        metric = cls(network, cache, micro_batch=context.micro_batch, reference=reference, device=context.device)
        metric.figures = figures_on(network, cls.figures, {cls.name: (cls.name.replace("fid", "fd_reference", 1), OTHER_WEIGHTS)})
        return metric


class TorchmetricsFID(FID):
    """FID against the reference, with the input of torchmetrics."""

    name = "fid_torchmetrics"
    figures = figures_of(name)
    backend = "torchmetrics"


class PytorchFidFID(FID):
    """FID against the reference, with the input of pytorch-fid."""

    name = "fid_pytorch_fid"
    figures = figures_of(name)
    backend = "pytorch-fid"


class CleanFidFID(FID):
    """FID against the reference, with the input of clean-fid."""

    name = "fid_clean_fid"
    figures = figures_of(name)
    backend = "clean-fid"
