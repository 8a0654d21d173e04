"""What metrics may need to build themselves: device, caches, files and the source of the images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tokbench.bench.references import Reference
from tokbench.data.source import ImageSource
from tokbench.layout import TokenLayout
from tokbench.records.protocol import Protocol, get_protocol


@dataclass(frozen=True)
class MetricContext:
    """Where and with what metrics run.

    Args:
        device: For the networks that judge.
        micro_batch: Images a network pass.
        cache: Folder for the features of reference images; None keeps none.
        feature_weights: The Inception file, if not the fetched one.
        source: The images, for metrics that need to know more of them than their pixels.
        layout: Layout of the tokens of one image; None of a codec, or images alone, without tokens.
        protocol: How figures are computed; None is as ``photos-64`` has it.
        reference: What reconstructions are compared with beside their originals; None if nothing was given.
        built: What a metric has built that others need too, such as the weights of a network, by name.
    """

    device: torch.device
    micro_batch: int
    cache: Path | None = None
    feature_weights: Path | None = None
    source: ImageSource | None = None
    layout: TokenLayout | None = None
    protocol: Protocol | None = None
    reference: Reference | None = None
    built: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def rules(self) -> Protocol:
        """The protocol whose settings say how figures are computed."""
        return self.protocol or get_protocol()
