"""What an evaluation keeps to be looked at: the first prompts of each task, with what the model made of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tokbench.lm.held_out import HeldOut
from tokbench.lm.scene_tasks import Pixels, Prompts, drawn
from tokbench.records.examples import Example

SHOWN, LONGER = 32, 16
"""Examples of drawing and describing, and of editing and completing, which take more than one picture each."""


def draw_examples(prompts: Prompts, ids: Sequence[str], images: Pixels) -> list[Example]:
    """Images drawn from words, each beside the scene that was asked for."""
    right = pictures(drawn(prompts.scenes[:SHOWN], prompts.size))
    return [
        Example("generate", name, words, right=scene, answer=picture)
        for name, words, scene, picture in zip(ids, prompts.words, right, pictures(images[:SHOWN]), strict=False)
    ]


def edit_examples(prompts: Prompts, ids: Sequence[str], images: Pixels) -> list[Example]:
    """Edits, each beside what was shown and what is right."""
    found = []
    for number, edit in enumerate(prompts.edits[:LONGER]):
        *shown, right = pictures(drawn([*edit.shown, edit.after], prompts.size))
        (answer,) = pictures(images[number : number + 1])
        found.append(Example("edit", ids[number], prompts.instructions[number], tuple(shown), right, answer))
    return found


def complete_examples(prompts: Prompts, ids: Sequence[str], images: Pixels) -> list[Example]:
    """Completions of upper halves, each beside the whole."""
    right = pictures(drawn(prompts.scenes[:LONGER], prompts.size))
    return [
        Example("complete", name, right=scene, answer=picture) for name, scene, picture in zip(ids, right, pictures(images), strict=False)
    ]


def describe_examples(prompts: Prompts, ids: Sequence[str], texts: Sequence[str]) -> list[Example]:
    """Descriptions, each beside what was shown."""
    shown = pictures(drawn(prompts.scenes[:SHOWN], prompts.size))
    return [Example("describe", name, shown=(scene,), text=text) for name, scene, text in zip(ids, shown, texts, strict=False)]


def real_examples(held: HeldOut, *, drawn: Pixels | None, completed: Pixels | None, texts: Sequence[str]) -> list[Example]:
    """The same of real images: what was made of the words, the upper halves and the whole of the first."""
    real, found = pictures(held.images[:SHOWN]), []
    for number, picture in enumerate([] if drawn is None else pictures(drawn[:SHOWN])):
        found.append(Example("generate", held.ids[number], held.words[number], right=real[number], answer=picture))
    for number, picture in enumerate([] if completed is None else pictures(completed[:LONGER])):
        found.append(Example("complete", held.ids[number], right=real[number], answer=picture))
    return found + [Example("describe", held.ids[number], shown=(real[number],), text=text) for number, text in enumerate(texts)]


def pictures(images: Pixels) -> list[np.ndarray]:
    """Pixels as examples have them."""
    return list(images.permute(0, 2, 3, 1).contiguous().numpy())
