"""Which models were trained alike but for their tokenizer: by one recipe, on equally many sequences or for equally long; no torch."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from tokbench.configs import canonical_json, plain
from tokbench.records.correlation import FEWEST
from tokbench.records.lm_record import LanguageModelRecord
from tokbench.records.lm_training import Trained, trained_stages
from tokbench.report.beforehand import subject_of

BUDGETS = {"images": "equal sequences", "time": "equal time"}
"""What models of one study have in common."""

TIMED = "_time"
"""How names end of models that were trained for equally long, where no record says for how long."""

EQUAL = 1.1
"""How many times as long as another a training may take that counts as equally long."""


@dataclass(frozen=True)
class Alike:
    """Models that were trained alike.

    Args:
        budget: What they have in common, a key of ``BUDGETS``.
        places: Places of their records, one a tokenizer.
        minutes: Shortest and longest training, where records say it.
    """

    budget: str
    places: tuple[int, ...]
    minutes: tuple[float, float] | None = None


def trained_alike(models: Sequence[LanguageModelRecord]) -> list[Alike]:
    """Put models together that differ in nothing but their tokenizer, and were asked alike.

    Where all records of one recipe say how long their models were trained, and all on machines of one kind, that tells which were trained
    equally long. None took more than ``EQUAL`` times as long as the shortest. Else the names tell it.

    Args:
        models: In any order. Of several alike of one tokenizer the first is taken, or that of the most usual time.

    Returns:
        Those of at least ``FEWEST`` tokenizers, in the order of their first records.
    """
    recipes: dict[str, list[int]] = {}
    for place, model in enumerate(models):
        if (key := _recipe_of(model)) is not None:
            recipes.setdefault(key, []).append(place)
    found = []
    for places in recipes.values():
        times = _times([models[place] for place in places])
        if times is None:
            named = {timed: [place for place in places if models[place].model.name.endswith(TIMED) is timed] for timed in (False, True)}
            found += [*_equal_steps(models, named[False]), *_one_a_tokenizer(models, named[True], "time")]
        else:
            found += [*_equal_steps(models, places), *_equal_time(models, dict(zip(places, times, strict=True)))]
    return sorted(found, key=lambda alike: min(alike.places))


def minutes_of(models: Sequence[LanguageModelRecord]) -> tuple[float, float] | None:
    """The shortest and the longest training, in minutes by the clock; None where a record does not say it."""
    stages = [trained_stages(model) for model in models]
    if not all(own and None not in own for own in stages):
        return None
    minutes = [sum(stage.seconds for stage in own if stage is not None) / 60 for own in stages]
    return (min(minutes), max(minutes)) if minutes else None


def _times(models: Sequence[LanguageModelRecord]) -> list[float] | None:
    """Seconds that each was trained; None where one does not say it, or they were trained on machines of several kinds."""
    stages: list[list[Trained]] = []
    for model in models:
        own = trained_stages(model)
        known = [stage for stage in own if stage is not None]
        if not known or len(known) < len(own):
            return None
        stages.append(known)
    machines = {tuple((stage.device, stage.processor, stage.processes) for stage in own) for own in stages}
    return [sum(stage.busy_seconds for stage in own) for own in stages] if len(machines) == 1 else None


def _equal_steps(models: Sequence[LanguageModelRecord], places: Sequence[int]) -> list[Alike]:
    groups: dict[Hashable, list[int]] = {}
    for place in places:
        groups.setdefault(_steps_of(models[place]), []).append(place)
    return [alike for members in groups.values() for alike in _one_a_tokenizer(models, members, "images")]


def _equal_time(models: Sequence[LanguageModelRecord], seconds: Mapping[int, float]) -> list[Alike]:
    """Those of the most tokenizers first; what is left may make more."""
    found, left = [], sorted(seconds, key=lambda place: seconds[place])
    while windows := [[other for other in left if seconds[first] <= seconds[other] <= EQUAL * seconds[first]] for first in left]:
        best = max(windows, key=lambda window: len({subject_of(models[place]) for place in window}))
        left = [place for place in left if place not in best]
        usual = median(seconds[place] for place in best)
        near = sorted(best, key=lambda place: abs(seconds[place] - usual))
        if len({_steps_of(models[place]) for place in best}) > 1:  # else they are equal in sequences too, and no study of their own
            found += _one_a_tokenizer(models, near, "time")
    return found


def _one_a_tokenizer(models: Sequence[LanguageModelRecord], places: Sequence[int], budget: str) -> list[Alike]:
    """The first of each, in the order of their records; nothing where they are too few."""
    first: dict[Hashable, int] = {}
    for place in places:
        first.setdefault(subject_of(models[place]), place)
    chosen = sorted(first.values())
    return [Alike(budget, tuple(chosen), minutes_of([models[place] for place in chosen]))] if len(chosen) >= FEWEST else []


def _stages(model: LanguageModelRecord) -> Sequence[Mapping[str, Any]] | None:
    stages = model.model.recipe.get("stages")
    told = isinstance(stages, list | tuple) and len(stages) > 0 and all(isinstance(stage, Mapping) for stage in stages)
    return stages if told else None


def _recipe_of(model: LanguageModelRecord) -> str | None:
    """Whatever must be the same for models to compare but for tokenizer and budget: recipe and evaluation; None where no recipe is told."""
    stages = _stages(model)
    if stages is None:
        return None
    parts = []
    for stage in stages:
        recipe, data = ({**stage[key]} if isinstance(stage.get(key), Mapping) else stage.get(key) for key in ("recipe", "data"))
        if isinstance(recipe, dict):
            recipe.pop("steps", None)
        if isinstance(data, dict):
            data.pop("tokenizer", None)
        parts.append([stage.get("name"), stage.get("stage"), recipe, data])
    protocol = plain(model.protocol)
    protocol["sampling"] = {key: value for key, value in protocol["sampling"].items() if key != "batch_size"}
    return canonical_json([model.model.architecture, parts, protocol])


def _steps_of(model: LanguageModelRecord) -> str:
    """Steps of each stage, done and as the recipe has them."""
    stages = _stages(model) or ()
    recipes = [stage["recipe"] if isinstance(stage.get("recipe"), Mapping) else {} for stage in stages]
    return canonical_json([[stage.get("steps"), recipe.get("steps")] for stage, recipe in zip(stages, recipes, strict=True)])
