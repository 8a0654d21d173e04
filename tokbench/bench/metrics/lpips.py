"""LPIPS, learned perceptual distance, on AlexNet and on VGG16. Paper: Zhang et al. 2018; heads of version 0.1."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.base import PerImageMetric
from tokbench.bench.microbatch import in_micro_batches
from tokbench.bench.observation import Observation, Subject
from tokbench.nn.packed import packed
from tokbench.nn.perceptual import LpipsNet, build_lpips, lpips_rows
from tokbench.records.figures import figures_of
from tokbench.records.protocol import Protocol, get_protocol
from tokbench.weights.judges import read_judge

MIN_SIZE = 32
"""Smaller images leave AlexNet's last maps empty or one position wide."""


class LPIPS(PerImageMetric):
    """Mean LPIPS between originals and reconstructions, input in [-1, 1] at native size.

    Args:
        module: The network, from ``build_lpips``.
        weights_sha256: Digest of its file.
        micro_batch: Images a network pass.
        protocol: Its ``lpips_range`` and ``lpips_pixels``; None is ``photos-64``.
    """

    name = "lpips"
    figures = figures_of(name)
    net: LpipsNet = "alex"

    def __init__(self, module: nn.Module, weights_sha256: str, *, micro_batch: int, protocol: Protocol | None = None) -> None:
        super().__init__()
        self.rules = protocol or get_protocol()
        self.pixels = self.rules.lpips_pixels
        self.module, self.weights_sha256, self.micro_batch = [module], weights_sha256, micro_batch

    @classmethod
    def create(cls, context: MetricContext) -> LPIPS:
        """Build it with the weights of this package or those fetched."""
        state, digest = read_judge(f"lpips-{cls.net}")
        module = build_lpips(cls.net, state).to(context.device)
        packed(module.get_submodule("net"))
        return cls(module, digest, micro_batch=context.micro_batch, protocol=context.rules)

    @property
    def settings(self) -> dict[str, Any]:
        """Backbone, heads, range and weights."""
        pixels = {} if self.pixels == "bytes" else {"pixels": self.pixels}
        return {
            "network": {"alex": "AlexNet", "vgg": "VGG16"}[self.net],
            "heads": "0.1",
            "input": f"{self.rules.lpips_range}, native size",
            "weights_sha256": self.weights_sha256,
            "micro_batch": self.micro_batch,
            **pixels,
        }

    def not_applicable(self, subject: Subject) -> str | None:
        """The backbones need some pixels."""
        if min(subject.image_size) < MIN_SIZE:
            return f"images are smaller than {MIN_SIZE} px"
        return None

    def per_image(self, observation: Observation) -> Tensor:
        """Distance of each pair."""
        pairs = torch.stack(observation.pair(self.pixels), dim=1)
        if self.rules.lpips_range == "[0, 1]":
            pairs = pairs.add_(1.0).div_(2.0)
        return in_micro_batches(lambda both: lpips_rows(self.module[0], both[:, 0], both[:, 1]), pairs, size=self.micro_batch)


class LPIPSVGG(LPIPS):
    """LPIPS on VGG16: the same pair scores about four times higher than on AlexNet."""

    name = "lpips_vgg"
    figures = figures_of(name)
    net = "vgg"
