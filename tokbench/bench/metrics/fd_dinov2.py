"""Fréchet distance on DINOv2 (FD-DINOv2, rFDD), and on any other network of timm.

Paper: Stein et al. 2023, "Exposing flaws of generative model evaluation metrics and their unfair treatment of diffusion models".
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import ClassVar

from tokbench.bench.cache import FeatureCache
from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.frechet import FrechetMetric
from tokbench.bench.timm_network import check_name, timm_network
from tokbench.errors import TokbenchError
from tokbench.records.figure_info import LONGEST
from tokbench.records.figures import BY_KEY, figures_of
from tokbench.weights.assets import TIMM

DINOV2 = "vit_large_patch14_dinov2.lvd142m"

PREFIX = "fd_timm."
"""What stands before the name of a network where ``--metrics`` takes any."""


class FDDINOv2(FrechetMetric):
    """Fréchet distance of the 1024 features of DINOv2's class token, from ViT-L/14 at 224 px as timm runs it.

    On another network of timm it is ``fd[timm:NETWORK]``, and ``--metrics`` takes it as ``fd_timm.NETWORK``.

    Attributes:
        network_name: Architecture and tag of the network of timm.
        side: Side of the square that images are scaled to; None for that of the network.
    """

    name = "fd_dinov2"
    figures = figures_of(name)
    network_name: ClassVar[str] = DINOV2
    side: ClassVar[int | None] = 224

    @classmethod
    def create(cls, context: MetricContext) -> FDDINOv2:
        """Build it with the weights fetched.

        Raises:
            TokbenchError: If they are not here, are not those of their first use, or do not fit.
        """
        network = timm_network(cls.network_name, context.device, size=cls.side)
        return cls(network, FeatureCache(context.cache, network) if context.cache else None, micro_batch=context.micro_batch)


@cache
def fd_timm(network: str) -> type[FDDINOv2]:
    """The metric on a network of timm.

    Args:
        network: Architecture and tag.

    Raises:
        TokbenchError: If timm has no weights of it, or its name is too long for that of a figure.
    """
    check_name(network)
    key = f"fd[timm:{network}]"
    if len(key) > LONGEST["key"]:
        most = LONGEST["key"] - len(key) + len(network)
        raise TokbenchError(f"{network} is too long a name for a figure, of {most} characters at most; choose another network")
    info = replace(
        BY_KEY["fd_dinov2"],
        key=key,
        title=key,
        meaning="Fréchet distance between originals and reconstructions on features of a network of timm; only comparable at equal N",
        metric=f"{PREFIX}{network}",
        networks=(),
        asset=f"{TIMM}{network}",
    )

    class FDTimm(FDDINOv2):
        name = info.metric
        figures = (info,)
        network_name = network
        side = None

    return FDTimm
