"""Which figures that were known of tokenizers beforehand told how well models draw, edit and describe after training on them; no torch.

Models that were trained and asked alike are put together, a study each. Every figure that all their tokenizers have is held against what the
models can do. What this project's own study found lies in ``telling.json``, which ``make tables`` writes from its records.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources

import numpy as np

from tokbench.configs import UNLESS_DEFAULT, build, plain
from tokbench.image_size import Size, size_text
from tokbench.records.correlation import LEVEL, RankCorrelation, rank_correlations
from tokbench.records.lm_record import LanguageModelRecord
from tokbench.records.store import Rows
from tokbench.report.alike import BUDGETS, trained_alike
from tokbench.report.beforehand import BEFOREHAND, Holder, Known, Source, known_beforehand, subject_of
from tokbench.report.evaluated import row_names
from tokbench.report.words import counted

OUTCOMES = {
    "prompt_attributes": "drawings",
    "edit_change": "edits",
    "description_attributes": "descriptions",
    "fd_efflite0": "distance of drawings",
}
"""What a good tokenizer should be good for: keys of shares that are right, and of how far drawings are from fresh scenes; what they are of."""

FALLING = frozenset({"fd_efflite0"})
"""Outcomes of which less is better."""

FILE = "telling.json"
"""In ``tokbench.records``: what this project's own study found."""

DIGITS = 6
"""Decimals of correlations in that file."""


@dataclass(frozen=True)
class Pair:
    """A figure and an outcome.

    Args:
        figure: Key of the figure, as in ``BEFOREHAND``.
        source: Where it is from.
        outcome: Key of the outcome.
        ranks: How they go together.
        alike: Tokenizers at most that have the figure in common, to the last digit.
    """

    figure: str
    source: Source
    outcome: str
    ranks: RankCorrelation
    alike: int = 1

    @property
    def more_is_better(self) -> bool:
        """Whether more of the figure went with better models."""
        return (self.ranks.value > 0) is not (self.outcome in FALLING)


@dataclass(frozen=True)
class Study:
    """Models of several tokenizers that were trained alike and asked alike, and what told of them.

    Args:
        data: What they were asked about.
        split: Split of the prompts.
        prompts: How many.
        size: Size of the images.
        budget: What the models have in common, a key of ``BUDGETS``.
        sequences: Fewest and most that one was trained on; None where the records do not say.
        models: Names of the models.
        tried: Pairs of figure and outcome that were correlated.
        pairs: These, or of a study that is kept those that are determined.
        lacking: Figures that only some tokenizers have, with how many.
        minutes: The shortest and the longest training; None where a record does not say it.
    """

    data: str
    split: str
    prompts: int
    size: Size
    budget: str
    sequences: tuple[int, int] | None
    models: tuple[str, ...]
    tried: int
    pairs: tuple[Pair, ...]
    lacking: tuple[tuple[str, int], ...] = ()
    minutes: tuple[float, float] | None = field(default=None, metadata=UNLESS_DEFAULT)

    @property
    def determined(self) -> tuple[Pair, ...]:
        """The pairs whose sign is."""
        return tuple(pair for pair in self.pairs if pair.ranks.determined)

    @property
    def asked(self) -> str:
        """What the models were asked: ``500 prompts of scenes/test at 64 px``."""
        return f"{counted(self.prompts, 'prompt')} of {self.data}/{self.split} at {size_text(self.size)} px"

    @property
    def trained(self) -> str:
        """How much they were trained: ``equal time (9,920 to 41,344 sequences each)``, and in how many minutes where records say it."""
        parts = []
        if self.sequences is not None:
            parts.append(f"{_range(*map('{:,}'.format, self.sequences))} sequences each")
        if self.minutes is not None:
            parts.append(f"{_range(*map('{:,.3g}'.format, self.minutes))} minutes")
        words = BUDGETS.get(self.budget, self.budget)
        return f"{words} ({', '.join(parts)})" if parts else words


@dataclass(frozen=True)
class Telling:
    """Several studies.

    Args:
        studies: In the order of their records.
        own: Whether they are of this project, and not of the records at hand.
    """

    studies: tuple[Study, ...]
    own: bool

    @property
    def tried(self) -> int:
        """Pairs that were correlated."""
        return sum(study.tried for study in self.studies)

    @property
    def determined(self) -> tuple[Pair, ...]:
        """Pairs whose sign is determined, of all studies."""
        return tuple(pair for study in self.studies for pair in study.determined)

    @property
    def by_chance(self) -> int:
        """Pairs that chance alone would find determined among as many."""
        return round(LEVEL * self.tried)

    @property
    def leading(self) -> tuple[str, ...]:
        """Those of ``found`` that order tokenizers: no more than half have one value in common."""
        held = {pair.figure for pair in self.determined if 2 * pair.alike > pair.ranks.count}
        return tuple(key for key in self.found if key not in held)

    @property
    def found(self) -> tuple[str, ...]:
        """Keys of the figures that told something, from those that told most outcomes, then from the strongest correlations."""
        sizes: dict[str, list[float]] = {figure.key: [] for figure in BEFOREHAND}
        for pair in self.determined:
            sizes.setdefault(pair.figure, []).append(abs(pair.ranks.value))
        told = [key for key, found in sizes.items() if found]
        return tuple(sorted(told, key=lambda key: (-len(sizes[key]), -sum(sizes[key]) / len(sizes[key]))))


def told(known: Sequence[Known], models: Sequence[tuple[LanguageModelRecord, Rows]]) -> list[Pair]:
    """Correlate every figure with every outcome, over tokenizers drawn again, and over prompts where an outcome has a value of each.

    Args:
        known: Figures; one that a tokenizer lacks, or that is the same for all, is left out.
        models: Records of one model a tokenizer, with their values by prompt; an outcome that one lacks is left out.
    """
    subjects = [subject_of(model) for model, _ in models]
    whole = [one for one in known if all(subject in one.values for subject in subjects)]
    figures = [[one.values[subject] for subject in subjects] for one in whole]
    pairs: dict[tuple[int, str], Pair] = {}
    for outcome in OUTCOMES:
        values = [_values(model, rows, outcome) for model, rows in models]
        if not all(values) or not figures:
            continue
        for place, ranks in enumerate(rank_correlations(figures, [np.array(own) for own in values])):
            if ranks is not None:
                alike = Counter(figures[place]).most_common(1)[0][1]
                pairs[place, outcome] = Pair(whole[place].figure.key, whole[place].source, outcome, ranks, alike)
    return [pairs[key] for key in sorted(pairs, key=lambda key: (key[0], [*OUTCOMES].index(key[1])))]


def _values(model: LanguageModelRecord, rows: Rows, outcome: str) -> list[float]:
    """An outcome's values by prompt, or its one figure where it is of all drawings together; empty without either."""
    figure = model.figures.get(outcome) if outcome in FALLING else None
    found = [figure.value] if figure is not None else rows.get(outcome, {}).values()
    return [value for value in found if isinstance(value, int | float) and math.isfinite(value)]


def studies_of(models: Sequence[tuple[LanguageModelRecord, Rows]], records: Sequence[Holder]) -> list[Study]:
    """Find what told of models, study by study.

    Args:
        models: Records of language models with their values by prompt.
        records: Records of runs, probes and predictions of their tokenizers, joined by name and digest.

    Returns:
        One study for every recipe, budget and evaluation that models of at least three tokenizers share, where a figure could be held
        against an outcome.
    """
    alike = trained_alike([model for model, _ in models])
    known = known_beforehand(records) if alike else []
    found = []
    for group in alike:
        members = [models[place][0] for place in group.places]
        subjects = [subject_of(member) for member in members]
        pairs = told(known, [models[place] for place in group.places])
        if not pairs:
            continue
        protocol = members[0].protocol
        counts = [_sequences(member) for member in members]
        shown = [count for count in counts if count is not None]
        sequences = (min(shown), max(shown)) if len(shown) == len(counts) else None
        having = [(one, sum(subject in one.values for subject in subjects)) for one in known]
        lacking = tuple((one.figure.info.title, count) for one, count in having if 0 < count < len(subjects))
        asked = (protocol.data, protocol.split, protocol.prompts, protocol.size, group.budget)
        found.append(Study(*asked, sequences, tuple(row_names(members)), len(pairs), tuple(pairs), lacking, group.minutes))
    return found


def telling_of(models: Sequence[tuple[LanguageModelRecord, Rows]], records: Sequence[Holder]) -> Telling:
    """What told, among records; where these hold no models that were trained alike, what this project's own study found.

    Args:
        models: Records of language models with their values by prompt.
        records: Records of runs, probes and predictions.
    """
    studies = studies_of(models, records)
    return Telling(tuple(studies), False) if studies else Telling(own_studies(), True)


@cache
def own_studies() -> tuple[Study, ...]:
    """What this project's own study found; of its pairs those that are determined."""
    text = (resources.files("tokbench.records") / FILE).read_text(encoding="utf-8")
    return tuple(build(Study, values) for values in json.loads(text))


def written(studies: Sequence[Study]) -> str:
    """Text of the file that ``own_studies`` reads: determined pairs alone, correlations rounded.

    Args:
        studies: From the records.
    """
    kept = [replace(study, pairs=tuple(map(_rounded, study.determined)), lacking=()) for study in studies]
    return json.dumps(plain(kept), indent=1) + "\n"


def _range(least: str, most: str) -> str:
    return most if least == most else f"{least} to {most}"


def _rounded(pair: Pair) -> Pair:
    ranks = pair.ranks
    values = {name: round(getattr(ranks, name), DIGITS) for name in ("value", "low", "high", "least", "most", "chance")}
    return replace(pair, ranks=replace(ranks, **values))


def _sequences(model: LanguageModelRecord) -> int | None:
    """Sequences that the last stage of a model was trained on."""
    stage = model.model.recipe["stages"][-1]
    recipe = stage.get("recipe")
    counts = stage.get("steps"), recipe.get("batch_size") if isinstance(recipe, Mapping) else None
    steps, batch = counts
    return steps * batch if type(steps) is int and type(batch) is int else None
