"""Editing in turns: what an instruction leaves unsaid is what was spoken of in the turn before, for models that learned scenes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from jaxtyping import UInt8
from torch import Tensor

from tokbench.data.scenes.reader import read
from tokbench.data.scenes.scene import PLACES
from tokbench.data.scenes.turns import Spoken, Turn, spoken_in, take_turn
from tokbench.lm.image_model import ImageModel, Pixels, Progress
from tokbench.lm.model import LanguageModel
from tokbench.lm.options import SamplingOptions
from tokbench.lm.reward import SCENES

Picture = UInt8[Tensor, "3 h w"]


def knows_scenes(model: LanguageModel) -> bool:
    """Whether a stage of the model learned from scenes, so that its instructions are of their world."""
    stages = model.recipe.get("stages")
    told = [stage.get("data") for stage in stages if isinstance(stage, Mapping)] if isinstance(stages, list) else []
    return any(isinstance(data, Mapping) and str(data.get("name")).partition("/")[0] == SCENES for data in told)


def spoken_of(model: LanguageModel, words: str) -> tuple[Spoken, ...]:
    """Say which things the words of a picture name; none where the model knows other worlds.

    Args:
        model: What draws it.
        words: The words.
    """
    return spoken_in(words) if knows_scenes(model) else ()


def turn_of(model: LanguageModel, instruction: str, spoken: Sequence[Spoken], picture: Callable[[], Picture]) -> Turn:
    """Put an instruction into words that the model knows, see ``tokbench.data.scenes.turns``; models of other worlds get it as it is.

    Args:
        model: What edits.
        instruction: What is asked.
        spoken: Things of the turn before.
        picture: Gives the picture that is edited, RGB; it is read where no thing was spoken of.

    Raises:
        TokbenchError: If it is not clear of which thing the instruction is, or what it asks for.
    """
    if not knows_scenes(model):
        return Turn(instruction, ())
    return take_turn(instruction, spoken, seen=lambda: seen_in(picture()))


def seen_in(picture: Picture) -> tuple[Spoken, ...]:
    """Say which things the reader of scenes finds in a picture, from top to bottom and from left to right.

    Args:
        picture: RGB, at a size of scenes.
    """
    things = sorted(read(picture.permute(1, 2, 0).contiguous().numpy()).things, key=lambda thing: PLACES.index(thing.place))
    return tuple(Spoken(thing.colour, thing.shape) for thing in things)


def edit_in_turns(
    artist: ImageModel,
    image: UInt8[Tensor, "1 3 h w"],
    instructions: Sequence[str],
    *,
    first: UInt8[Tensor, "1 3 h w"] | None = None,
    count: int = 1,
    seed: int = 0,
    options: SamplingOptions | None = None,
    progress: Progress = lambda done, total: None,
) -> UInt8[Tensor, "turns count 3 h w"]:
    """Change an image as words say, then what came of it as the next words say, and so on.

    Args:
        artist: What edits.
        image: The image, of the model's size.
        instructions: What to do, turn by turn, at least one.
        first: An image that is shown before it in the first turn.
        count: Edits of the image; each goes on by itself, and equal ones go on equally.
        seed: Seed of all of them.
        options: How they are sampled.
        progress: Called with the edits done and all of them.

    Returns:
        What came of each turn.

    Raises:
        TokbenchError: As ``turn_of`` and ``ImageModel.edit``; what words alone tell is refused before anything is drawn.
        ValueError: As ``ImageModel.edit``, or if there are no instructions.
    """
    if isinstance(instructions, str) or not instructions:
        raise ValueError(f"instructions are a list of at least one text, got {instructions!r}")
    _check(artist.model, instructions, image[0])
    images: Pixels = image
    spoken: list[tuple[Spoken, ...]] = [()]
    made: list[Pixels] = []
    for number, instruction in enumerate(instructions):
        turns = [turn_of(artist.model, instruction, said, partial(_same, one)) for said, one in zip(spoken, images, strict=True)]
        before, copies = number * count, 1 if made else count
        images = artist.edit(
            images,
            [turn.instruction for turn in turns],
            first=None if made else first,
            count=copies,
            seed=seed,
            options=options,
            progress=partial(_shifted, progress, before, len(instructions) * count),
        )
        spoken = [turn.spoken for turn in turns] * copies
        made.append(images)
    return torch.stack(made)


def _same(picture: Picture) -> Picture:
    return picture


def _shifted(progress: Progress, before: int, total: int, done: int, _: int) -> None:
    progress(before + done, total)


class _NotYet(Exception):
    """A picture would have to be looked at that is not drawn yet."""


def _check(model: LanguageModel, instructions: Sequence[str], picture: Picture) -> None:
    """Refuse what cannot be understood in any turn.

    Raises:
        TokbenchError: If an instruction is not clear, as far as can be told before anything is drawn.
    """

    def unseen() -> Picture:
        raise _NotYet

    spoken: tuple[Spoken, ...] = ()
    ways: list[Callable[[], Picture]] = [partial(_same, picture), *[unseen] * (len(instructions) - 1)]
    for instruction, seen in zip(instructions, ways, strict=True):
        try:
            spoken = turn_of(model, instruction, spoken, seen).spoken
        except _NotYet:
            spoken = ()
