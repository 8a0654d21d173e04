"""LPIPS, learned perceptual distance, on AlexNet and on VGG16. Paper: Zhang et al. 2018; heads of version 0.1."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.base import PerImageMetric
from tokbench.bench.microbatch import in_micro_batches
from tokbench.bench.observation import Observation, Subject
from tokbench.nn.perceptual import LpipsNet, build_lpips, lpips_rows
from tokbench.records.figures import figures_of
from tokbench.weights.judges import read_judge

MIN_SIZE = 32
"""Smaller images leave AlexNet's last maps empty or one position wide."""


class LPIPS(PerImageMetric):
    """Mean LPIPS between originals and reconstructions, input in [-1, 1] at native size.

    Args:
        module: The network, from ``build_lpips``.
        weights_sha256: Digest of its file.
        micro_batch: Images a network pass.
    """

    name = "lpips"
    figures = figures_of(name)
    net: LpipsNet = "alex"

    def __init__(self, module: nn.Module, weights_sha256: str, *, micro_batch: int) -> None:
        super().__init__()
        self.module, self.weights_sha256, self.micro_batch = [module], weights_sha256, micro_batch

    @classmethod
    def create(cls, context: MetricContext) -> LPIPS:
        """Build it with the weights of this package or those fetched."""
        state, digest = read_judge(f"lpips-{cls.net}")
        return cls(build_lpips(cls.net, state).to(context.device), digest, micro_batch=context.micro_batch)

    @property
    def settings(self) -> dict[str, Any]:
        """Backbone, heads, range and weights."""
        return {
            "network": {"alex": "AlexNet", "vgg": "VGG16"}[self.net],
            "heads": "0.1",
            "input": "[-1, 1], native size",
            "weights_sha256": self.weights_sha256,
            "micro_batch": self.micro_batch,
        }

    def not_applicable(self, subject: Subject) -> str | None:
        """The backbones need some pixels."""
        if min(subject.image_size) < MIN_SIZE:
            return f"images are smaller than {MIN_SIZE} px"
        return None

    def per_image(self, observation: Observation) -> Tensor:
        """Distance of each pair."""
        pairs = torch.stack([observation.reference_float, observation.reconstruction_float], dim=1)
        return in_micro_batches(lambda both: lpips_rows(self.module[0], both[:, 0], both[:, 1]), pairs, size=self.micro_batch)


class LPIPSVGG(LPIPS):
    """LPIPS on VGG16: the same pair scores about four times higher than on AlexNet."""

    name = "lpips_vgg"
    figures = figures_of(name)
    net = "vgg"
