"""Examples of language models on the page: what was asked, what is right, and the answers of all models side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tokbench.records.examples import Example
from tokbench.records.store import Rows
from tokbench.report.page.budget import take_fitting
from tokbench.report.page.embed import data_uri
from tokbench.report.page.environment import macros
from tokbench.report.page.model import clipped

TITLES = {"generate": "Drawn from words", "edit": "Edited", "complete": "Completed from the upper half", "describe": "Described"}
"""Task to heading, in the order of the page."""

SCORES = {"generate": "prompt_attributes", "edit": "edit_change", "describe": "description_attributes"}
"""What is said of one answer, by its task."""

WORDS = 400
"""Characters of a prompt or a description that are shown."""


@dataclass(frozen=True)
class Shown:
    """A picture.

    Args:
        who: What it is, or whose.
        source: The picture, as a data URI.
        width: Width in pixels.
        height: Height in pixels.
        note: How much of it is right; empty if that is not known.
    """

    who: str
    source: str
    width: int
    height: int
    note: str = ""


@dataclass(frozen=True)
class Asked:
    """One prompt with the answers of all models.

    Args:
        words: What was asked.
        pictures: What was shown, what is right, and the answers.
        texts: Answers in words: whose, what, and how much is right.
    """

    words: str
    pictures: tuple[Shown, ...]
    texts: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class Examples:
    """Prompts of one task and split, and how many more did not fit."""

    title: str
    asked: tuple[Asked, ...]
    dropped: int


def examples_of(split: str, models: Sequence[tuple[str, Sequence[Example], Rows]], *, most: int, budget: int) -> tuple[list[Examples], int]:
    """Put the answers of models to the same prompts side by side, as long as they fit.

    Args:
        split: Split of the prompts.
        models: Name, examples and values by prompt of each.
        most: Prompts of a task at most.
        budget: Bytes there are.

    Returns:
        What each task has, and the bytes it takes.
    """
    found, spent = [], 0
    for number, (task, title) in enumerate(TITLES.items()):
        prompts: dict[tuple[str, str], list[tuple[str, Example, Rows]]] = {}
        for name, examples, rows in models:
            for one in examples:
                if one.task == task:
                    prompts.setdefault((one.id, one.words), []).append((name, one, rows))
        chosen = list(prompts.values())[:most]
        share = (budget - spent) // (len(TITLES) - number)
        taken, bytes_taken = take_fitting(map(_asked, chosen), _weight, lambda _: None, share)
        spent += bytes_taken
        if chosen:
            found.append(Examples(f"{title}: {split}", tuple(taken), len(chosen) - len(taken)))
    return found, spent


def _asked(answers: Sequence[tuple[str, Example, Rows]]) -> Asked:
    first = answers[0][1]
    before = ("shown first", "before") if len(first.shown) > 1 else ("shown" if first.task == "describe" else "before",)
    pictures = [_shown(who, picture) for who, picture in zip(before, first.shown, strict=False)]
    if first.right is not None:
        pictures.append(_shown("original" if first.task == "complete" else "asked for", first.right))
    pictures += [_shown(name, one.answer, _score(one, rows)) for name, one, rows in answers if one.answer is not None]
    texts = [
        (clipped(name), clipped(one.text, WORDS) or "(nothing)", _score(one, rows)) for name, one, rows in answers if one.answer is None
    ]
    return Asked(clipped(first.words, WORDS), tuple(pictures), tuple(texts))


def _shown(who: str, picture: np.ndarray, note: str = "") -> Shown:
    return Shown(clipped(who), data_uri(picture), picture.shape[1], picture.shape[0], note)


def _score(one: Example, rows: Rows) -> str:
    value = rows.get(SCORES.get(one.task, ""), {}).get(one.id)
    if value is None or not 0 <= value <= 1:
        return ""
    if one.task == "edit":
        return "change right" if value == 1 else "change not right"
    return f"{100 * value:.0f} % right"


def _weight(one: Asked) -> int:
    return len(macros("_models.html.j2").asked(one).encode())
