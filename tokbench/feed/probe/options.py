"""How images are drawn from a probe; no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SampleOptions:
    """How images are drawn.

    Args:
        count: How many.
        top_k: Codes to choose among, the likeliest ones; None takes all.
        temperature: Divides the scores; below 1 makes likely codes likelier.
        seed: Seed of all of them.
        batch_size: Images at once; changes no choice, but for rounding.

    Raises:
        ValueError: If a value is out of range.
    """

    count: int = 16
    top_k: int | None = 500
    temperature: float = 1.0
    seed: int = 0
    batch_size: int = 16

    def __post_init__(self) -> None:
        if self.count < 1 or self.batch_size < 1 or (self.top_k is not None and self.top_k < 1):
            raise ValueError(f"count, batch_size and top_k must be at least 1, got {self.count}, {self.batch_size} and {self.top_k}")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be positive, got {self.temperature}")

    @property
    def label(self) -> str:
        """In words."""
        return f"{'all codes' if self.top_k is None else f'top-{self.top_k}'}, temperature {self.temperature:g}, seed {self.seed}"
