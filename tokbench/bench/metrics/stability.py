"""Stability: the share of codes that survive a round trip through pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from tokbench.bench.metrics.base import PerImageMetric
from tokbench.bench.observation import Observation, Subject
from tokbench.records.figures import figures_of
from tokbench.tokens import DiscreteTokens


class Stability(PerImageMetric):
    """Share of codes that ``encode(decode(codes))`` returns unchanged, the pixels having been bytes in between."""

    name = "stability"
    figures = figures_of(name)

    def not_applicable(self, subject: Subject) -> str | None:
        """Only codes can be equal."""
        if subject.layout is None:
            return "a codec without tokens"
        return None if subject.layout.discrete else "continuous latents have no codes to compare"

    def per_image(self, observation: Observation) -> Tensor:
        """Share of each image."""
        before, after = observation.tokens, observation.tokens_again
        if not isinstance(before, DiscreteTokens) or not isinstance(after, DiscreteTokens):
            raise ValueError("stability needs discrete tokens")
        return (before.codes == after.codes).to(torch.float64).mean(dim=(1, 2))
