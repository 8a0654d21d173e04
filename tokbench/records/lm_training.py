"""How much a language model was trained, stage by stage, as its record says it; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokbench.configs import build
from tokbench.counting import counted
from tokbench.records.lm_record import LanguageModelRecord

LONGEST = 1e10
"""Seconds, three hundred years of them; what says more says nothing."""

NAMED = 60
"""Characters of the name of a processor that are shown."""

TRAINED = "trained"
"""Where a stage says it; stages that were trained before there was such an entry have none."""


@dataclass(frozen=True)
class Trained:
    """What the training of a stage took.

    Args:
        sequences: Sequences seen, counted again where they came again.
        seconds: By the clock, over all times that the stage was gone on with; what a kill lost is not counted.
        processor_seconds: Seconds that cores of the machine were kept busy, by all processes together; other work there does not change it.
        processes: How many shared each step.
        device: Kind of device, as ``torch`` calls it.
        processor: Name of the processor, or of the accelerator; of several, one after the other.

    Raises:
        ValueError: If a number is negative, or beyond ``LONGEST`` seconds.
    """

    sequences: int
    seconds: float
    processor_seconds: float
    processes: int
    device: str
    processor: str

    def __post_init__(self) -> None:
        times = (self.seconds, self.processor_seconds)
        if self.sequences < 0 or self.processes < 1 or not all(0 <= time <= LONGEST for time in times):
            raise ValueError(f"sequences and seconds are not negative, and processes at least 1; got {self}")

    @property
    def busy_seconds(self) -> float:
        """Seconds by which trainings on one kind of machine compare: those of the cores, or by the clock where an accelerator computed."""
        return self.processor_seconds if self.device == "cpu" else self.seconds


def trained_stages(record: LanguageModelRecord) -> tuple[Trained | None, ...]:
    """What the training of each stage took; None for a stage whose record does not say it."""
    stages = record.model.recipe.get("stages")
    return tuple(_trained(stage) for stage in stages) if isinstance(stages, list | tuple) else ()


def _trained(stage: Any) -> Trained | None:
    values = stage.get(TRAINED) if isinstance(stage, Mapping) else None
    try:
        found = build(Trained, values)
    except ValueError:
        return None
    assert isinstance(found, Trained)
    return found


def training_words(record: LanguageModelRecord) -> str:
    """How much all stages were trained: ``trained on 16,000 sequences in 31 min on a processor``; empty where one does not say it."""
    found = trained_stages(record)
    stages = [stage for stage in found if stage is not None]
    if not stages or len(stages) < len(found):
        return ""
    sequences, seconds = sum(stage.sequences for stage in stages), sum(stage.seconds for stage in stages)
    return f"trained on {counted(sequences, 'sequence')} in {duration(seconds)} on {', '.join(dict.fromkeys(map(_place, stages)))}"


def _place(stage: Trained) -> str:
    return f"{stage.processes} x {stage.processor[:NAMED]}" if stage.processes > 1 else stage.processor[:NAMED]


def duration(seconds: float) -> str:
    """Seconds in words: ``45 s``, ``31 min``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
