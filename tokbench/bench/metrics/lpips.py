"""LPIPS, learned perceptual distance, on AlexNet and on VGG16. Paper: Zhang et al. 2018; heads of version 0.1."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.base import PerImageMetric
from tokbench.bench.microbatch import in_micro_batches
from tokbench.bench.observation import Observation, Subject
from tokbench.images import to_float
from tokbench.nn.packed import packed
from tokbench.nn.perceptual import LpipsNet, build_lpips, byte_inputs, looked_up, lpips_of_inputs, lpips_rows
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
        self._levels: Tensor | None = None

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
        if self.pixels == "bytes":
            pairs, compare = torch.stack(observation.levels("bytes"), dim=1), self._compare_bytes
        else:
            pairs, compare = self._in_range(torch.stack(observation.pair(self.pixels), dim=1)), self._compare
        return in_micro_batches(compare, pairs, size=self.micro_batch)

    def _in_range(self, images: Tensor) -> Tensor:
        """Images in [-1, 1], overwritten, in the range that the network is given."""
        return images.add_(1.0).div_(2.0) if self.rules.lpips_range == "[0, 1]" else images

    def _compare(self, pairs: Float32[Tensor, "b 2 3 h w"]) -> Tensor:
        return lpips_rows(self.module[0], pairs[:, 0], pairs[:, 1])

    def _compare_bytes(self, pairs: UInt8[Tensor, "b 2 3 h w"]) -> Tensor:
        """The same to the last bit, of bytes: there are only 256 of them to scale."""
        if self._levels is None:
            every = torch.arange(256, dtype=torch.uint8, device=pairs.device).view(256, 1, 1, 1).expand(256, 3, 1, 1)
            self._levels = byte_inputs(self.module[0], self._in_range(to_float(every)))
        return lpips_of_inputs(self.module[0], *(looked_up(self._levels, images) for images in pairs.unbind(1)))


class LPIPSVGG(LPIPS):
    """LPIPS on VGG16: the same pair scores about four times higher than on AlexNet."""

    name = "lpips_vgg"
    figures = figures_of(name)
    net = "vgg"
