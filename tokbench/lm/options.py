"""How a language model is sampled from; no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

EDIT_TEMPERATURE = 0.5
"""Temperature of edits unless it is told. An edit has one right answer but for the place of what is new, so likely ids are better ones."""


@dataclass(frozen=True)
class SamplingOptions:
    """How the next id is drawn.

    Args:
        temperature: Divides the scores; below 1 makes likely ids likelier, and 0 always takes the likeliest. None is 1 to draw and to
            complete, ``EDIT_TEMPERATURE`` to edit and 0 to describe.
        top_k: Ids to choose among, the likeliest ones; None takes all.
        top_p: Share of the probability to choose among, the likeliest ids that hold it; 1 takes all.
        guidance: How far to go from the scores without words to those with them; 1 is the model as it is, and takes half the time. None
            is 1, and for images drawn from words what the model says itself, see ``LanguageModel.guidance``.
        batch_size: Sequences at once. It changes no choice, but for rounding.

    Raises:
        ValueError: If a value is out of range.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float = 1.0
    guidance: float | None = None
    batch_size: int = 16

    def __post_init__(self) -> None:
        if self.temperature is not None and not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be 0 or more, got {self.temperature:g}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p:g}")
        if self.guidance is not None and not math.isfinite(self.guidance):
            raise ValueError(f"guidance must be a finite number, got {self.guidance:g}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")

    def of(self, guidance: float, temperature: float = 1.0) -> SamplingOptions:
        """The options with a guidance and a temperature: their own, or these where they have none."""
        return replace(
            self,
            guidance=guidance if self.guidance is None else self.guidance,
            temperature=temperature if self.temperature is None else self.temperature,
        )
