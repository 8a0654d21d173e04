"""How much of a codebook is used: share of codes, perplexity, entropy and dead codes, over the images measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchmetrics

from tokbench.bench.metrics.base import Figure, Metric
from tokbench.bench.observation import Observation, Subject
from tokbench.bench.record import CodebookUse
from tokbench.tokens import DiscreteTokens

CURVE_POINTS = 256
"""Points at most of the curve of a codebook's use over its ranks."""


class Codebook(Metric):
    """Statistics of the histogram of codes, per codebook.

    ``usage`` is the share of codes that occur; ``entropy_bits`` the entropy of the histogram in bits a token;
    ``perplexity`` two to that power; ``dead_codes`` the number that never occur. With several codebooks the value is the
    mean over them (the sum, for ``dead_codes``). All depend on how many tokens were seen; the settings say how many.
    """

    name = "codebook"
    figures = ("usage", "perplexity", "entropy_bits", "dead_codes")
    unit = ""

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._counts: list[torch.Tensor] = []
        self._images = 0

    @property
    def settings(self) -> dict[str, Any]:
        """How much was seen."""
        return {"images": self._images, "tokens_per_codebook": int(self._counts[0].sum()) if self._counts else 0}

    def not_applicable(self, subject: Subject) -> str | None:
        """Only codes have a codebook."""
        if subject.layout is None:
            return "a codec without tokens"
        return None if subject.layout.discrete else "continuous latents have no codebook"

    def update(self, observation: Observation) -> None:
        """Take one micro-batch in."""
        tokens = observation.tokens
        if not isinstance(tokens, DiscreteTokens):
            raise ValueError("codebook statistics need discrete tokens")
        counts = [torch.bincount(tokens.codes[..., k].flatten(), minlength=size).cpu() for k, size in enumerate(tokens.codebook_sizes)]
        self._counts = [a + b for a, b in zip(self._counts, counts, strict=True)] if self._counts else counts
        self._images += len(observation)

    def report(self) -> dict[str, Figure]:
        """Return the four figures."""
        entropies = [_entropy_bits(counts) for counts in self._counts]
        dead = [float((counts == 0).sum()) for counts in self._counts]
        usage = [1.0 - count / len(counts) for count, counts in zip(dead, self._counts, strict=True)]
        perplexity = [2.0**bits for bits in entropies]
        return {
            "usage": _figure(usage, "share of codes", True),
            "perplexity": _figure(perplexity, "codes", True),
            "entropy_bits": _figure(entropies, "bits per token", None),
            "dead_codes": _figure(dead, "codes", False, np.sum),
        }

    def codebooks(self) -> tuple[CodebookUse, ...]:
        """One curve a codebook."""
        return tuple(_use(counts) for counts in self._counts)

    def merge_state(self, incoming_state: dict[str, Any] | torchmetrics.Metric) -> None:
        """Take in what another instance has seen of other images."""
        if not isinstance(incoming_state, Codebook):
            raise ValueError("Codebook merges with its own kind only")
        other = incoming_state._counts
        self._counts = [a + b for a, b in zip(self._counts, other, strict=True)] if self._counts and other else self._counts or other
        self._images += incoming_state._images
        self._update_count += incoming_state._update_count


def _use(counts: torch.Tensor) -> CodebookUse:
    ordered = counts[counts > 0].sort(descending=True).values
    used, tokens = len(ordered), int(counts.sum())
    ranks = np.unique(np.rint(np.geomspace(1, used, CURVE_POINTS)).astype(int)).tolist()
    return CodebookUse(len(counts), tokens, used, tuple(ranks), tuple(int(ordered[rank - 1]) / tokens for rank in ranks))


def _entropy_bits(counts: torch.Tensor) -> float:
    share = counts.double() / counts.sum()
    share = share[share > 0]
    return max(0.0, float(-(share * share.log2()).sum()))


def _figure(values: list[float], unit: str, higher: bool | None, combine: Callable[[list[float]], Any] = np.mean) -> Figure:
    return Figure(float(combine(values)), unit, higher, by_codebook=tuple(values) if len(values) > 1 else None)
