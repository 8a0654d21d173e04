"""What a probe's figures depend on but tokenizer and data: network, budget and seed; named, versioned, recorded whole; no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from tokbench.configs import with_overrides
from tokbench.errors import TokbenchError, unknown_name


@dataclass(frozen=True)
class ProbeProtocol:
    """How the probe is built and trained: the same for every tokenizer, of whose vocabulary and length only the embedding knows.

    Args:
        name: Name of the preset.
        version: Version of the preset; raised whenever a figure under it may change.
        hidden_size: Width of the Llama network; its embedding is also its head.
        intermediate_size: Width within its feed-forward layers.
        layers: How many.
        heads: Heads of attention.
        images_seen: Images trained on in all, repetitions counted.
        batch_size: Images a step.
        learning_rate: Learning rate of AdamW at its peak.
        warmup: Share of the steps in which the rate rises to the peak.
        final_rate: Share of the peak that a cosine falls to at the end.
        weight_decay: Weight decay of matrices; vectors have none.
        beta1: Beta1 of AdamW.
        beta2: Beta2 of AdamW.
        clip: Largest norm of a gradient.
        precision: Precision of training; held-out images are always measured in single precision.
        augment: ``flip`` adds every training image's mirror image, encoded like the rest.
        condition: Text before each image: ``caption``, ``label``, or ``none``; ``auto`` takes the first of them that the data have.
        held_out: Share of the groups that is held out of data that come in one part.
        curve_points: How often held-out images are measured while training, evenly.
        curve_images: On how many of them.
        seed: Seed of weights, order, split and samples.

    Raises:
        ValueError: If a value is out of range.
    """

    name: str
    version: int
    hidden_size: int = 128
    intermediate_size: int = 320
    layers: int = 4
    heads: int = 2
    images_seen: int = 3910
    batch_size: int = 8
    learning_rate: float = 2e-3
    warmup: float = 0.1
    final_rate: float = 0.1
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    clip: float = 1.0
    precision: Literal["fp32", "bf16"] = "bf16"
    augment: Literal["flip", "none"] = "flip"
    condition: Literal["auto", "caption", "label", "none"] = "auto"
    held_out: float = 0.1
    curve_points: int = 8
    curve_images: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        counts = ("hidden_size", "intermediate_size", "layers", "heads", "images_seen", "batch_size", "curve_points", "curve_images")
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.hidden_size % (2 * self.heads):
            raise ValueError(f"hidden_size must be an even multiple of heads, got {self.hidden_size} and {self.heads}")
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("warmup", "final_rate", "weight_decay", "beta1", "beta2"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0 to 1, got {getattr(self, name)}")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out must lie between 0 and 1, got {self.held_out}")

    @property
    def label(self) -> str:
        """The preset's name, with every setting that differs from it: ``small+seed=1``."""
        base = PRESETS.get(self.name)
        names = [field.name for field in fields(self)] if base else []
        return "+".join([self.name, *(f"{name}={getattr(self, name)}" for name in names if getattr(self, name) != getattr(base, name))])

    @property
    def steps(self) -> int:
        """Steps of training; the last one may have fewer images."""
        return -(-self.images_seen // self.batch_size)

    def rate(self, step: int) -> float:
        """Learning rate of a step, from 0: a straight rise to the peak, then half a cosine down to ``final_rate`` of it."""
        rising = max(1, round(self.warmup * self.steps))
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        done = (step + 1 - rising) / max(1, self.steps - rising)
        return self.learning_rate * (self.final_rate + (1 - self.final_rate) * (1 + math.cos(math.pi * done)) / 2)


PRESETS = {
    "small": ProbeProtocol("small", 1),
    "smoke": ProbeProtocol(
        "smoke", 1, hidden_size=32, intermediate_size=64, layers=2, images_seen=64, augment="none", curve_points=2, curve_images=8
    ),
}
"""Budgets by name; the first is the default, the second only shows that everything runs."""


def get_probe_protocol(name: str = "small", changes: Mapping[str, object] | None = None) -> ProbeProtocol:
    """Take a preset and change settings.

    Args:
        name: Name of the preset.
        changes: Settings by name, as values or text; None leaves one as it is.

    Raises:
        TokbenchError: If preset or setting is unknown, or a value is refused.
    """
    if name not in PRESETS:
        raise unknown_name("budget", name, PRESETS)
    changes = {key: value for key, value in (changes or {}).items() if value is not None}
    if not {"name", "version"}.isdisjoint(changes):
        raise TokbenchError("name and version belong to the budget; change its settings")
    return with_overrides(PRESETS[name], changes)
