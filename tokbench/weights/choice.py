"""What a user says about the weights in a file: what to leave out, and whether to take averages; no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """Which of a file's weights to take.

    Args:
        drop: Beginnings of names to leave out, which the model must not need.
        averages: Whether to take averaged weights (EMA); None takes them where the file holds a complete set, otherwise the raw ones.
    """

    drop: tuple[str, ...] = ()
    averages: bool | None = None


DEFAULT = Choice()
