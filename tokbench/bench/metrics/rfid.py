"""Reconstruction FID on the Inception network of 2015-12-05, with the input that each of four implementations gives it."""

from __future__ import annotations

from typing import ClassVar

from tokbench.bench.cache import FeatureCache
from tokbench.bench.context import MetricContext
from tokbench.bench.inception import figures_on, open_inception
from tokbench.bench.inception_input import BACKENDS
from tokbench.bench.metrics.frechet import FrechetMetric
from tokbench.records.figures import figures_of

OTHER_WEIGHTS = "Fréchet distance between originals and reconstructions on features of other weights than FID's; only comparable at equal N"


class RFID(FrechetMetric):
    """FID between originals and their reconstructions, with the input that the protocol names: by default torch-fidelity's, as TF1 resizes.

    With other weights than the published ones it is ``fd[inception:DIGEST]``: another figure with a row of its own, never ``rfid``.

    Attributes:
        backend: The implementation whose input the network is given, see ``tokbench.bench.inception_input``; empty where the protocol says.
    """

    name = "rfid"
    figures = figures_of(name)
    backend: ClassVar[str] = ""
    companion = "fid"

    @classmethod
    def create(cls, context: MetricContext) -> RFID:
        """Build it with the Inception weights: given, fetched, or in torch's hub cache.

        Raises:
            TokbenchError: If there are none, or those in a cache are not the published ones.
        """
        network = open_inception(context, BACKENDS.get(cls.backend))
        metric = cls(network, FeatureCache(context.cache, network) if context.cache else None, micro_batch=context.micro_batch)
        metric.figures = figures_on(network, cls.figures, {cls.name: (cls.name.removeprefix("r").replace("fid", "fd", 1), OTHER_WEIGHTS)})
        return metric


class TorchmetricsRFID(RFID):
    """FID with the input of torchmetrics, whose resize smooths where it scales down."""

    name = "rfid_torchmetrics"
    figures = figures_of(name)
    backend = "torchmetrics"
    companion = "fid_torchmetrics"


class PytorchFidRFID(RFID):
    """FID with the input of pytorch-fid, whose resize lies half a pixel off that of the original."""

    name = "rfid_pytorch_fid"
    figures = figures_of(name)
    backend = "pytorch-fid"
    companion = "fid_pytorch_fid"


class CleanFidRFID(RFID):
    """FID with the input of clean-fid, which is scaled by a cubic filter and not rounded."""

    name = "rfid_clean_fid"
    figures = figures_of(name)
    backend = "clean-fid"
    companion = "fid_clean_fid"
