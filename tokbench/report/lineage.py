"""Which language model was trained on from which, as their records say, and the order that follows: stages after those they go on from."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tokbench.records.lm_record import LanguageModelRecord

Stages = tuple[str, ...]
"""What a model was trained on, a text a stage."""


def in_order(records: Sequence[LanguageModelRecord]) -> list[int]:
    """Put models in the order of their stages: pre-training, what went on from it, what went on from that.

    Args:
        records: In any order; models that share no stage keep it.

    Returns:
        Places of the records.
    """
    lines: dict[tuple[str, Stages], int] = {}
    keys = []
    for place, record in enumerate(records):
        stages = _stages(record)
        line = lines.setdefault((record.tokenizer.name, stages[:1]), place)
        keys.append((line, len(stages), place))
    return [place for *_, place in sorted(keys)]


def predecessors(records: Sequence[LanguageModelRecord]) -> list[int | None]:
    """Find what each model is compared with: the nearest of those it was trained on from, else the one before it.

    Args:
        records: As ``in_order`` puts them.

    Returns:
        A place for each record; None for the first.
    """
    found: list[int | None] = []
    for place, record in enumerate(records):
        earlier = [other for other in range(place) if _goes_on(record, records[other])]
        nearest = max(earlier, key=lambda other: (len(_stages(records[other])), other), default=None)
        found.append(nearest if nearest is not None else place - 1 if place else None)
    return found


def _goes_on(record: LanguageModelRecord, other: LanguageModelRecord) -> bool:
    """Whether a model was trained on from another one."""
    own, before = _stages(record), _stages(other)
    return record.tokenizer.name == other.tokenizer.name and 0 < len(before) < len(own) and own[: len(before)] == before


def _stages(record: LanguageModelRecord) -> Stages:
    stages = record.model.recipe.get("stages")
    return tuple(json.dumps(stage, sort_keys=True) for stage in stages) if isinstance(stages, list | tuple) else ()
