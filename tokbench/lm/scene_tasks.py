"""What a model is asked of scenes, and how its answers are scored: drawing, editing, describing and completing, prompt by prompt."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from tokbench.data.scenes.asked import Asked, AskedGround, AskedThing, asked_in
from tokbench.data.scenes.drawing import draw
from tokbench.data.scenes.edits import Edit, edit_of, untouched
from tokbench.data.scenes.random_scenes import scene_of
from tokbench.data.scenes.reader import ReadGround, Reading, read
from tokbench.data.scenes.scene import Scene
from tokbench.data.scenes.score import PARTS, Score, score
from tokbench.data.scenes.split import SceneSplit
from tokbench.data.scenes.words import captions
from tokbench.errors import TokbenchError
from tokbench.lm.image_bits import completion_bits, image_bits
from tokbench.lm.image_model import ImageModel
from tokbench.lm.options import SamplingOptions

Pixels = UInt8[Tensor, "b 3 h w"]
Values = dict[str, list[float]]
"""Figure to one value a prompt."""

Progress = Callable[[int, int], None]

APART = 10**6
"""Seeds between the scenes of two evaluations, and between their parts."""


@dataclass(frozen=True)
class Prompts:
    """Scenes and edits that a model is asked for.

    Args:
        scenes: The scenes.
        words: One wording of each.
        edits: The edits.
        instructions: One wording of each.
        size: Side of images in pixels.
    """

    scenes: tuple[Scene, ...]
    words: tuple[str, ...]
    edits: tuple[Edit, ...]
    instructions: tuple[str, ...]
    size: int


def prompts_of(count: int, split: SceneSplit, *, size: int, seed: int) -> Prompts:
    """Choose what is asked for, the same for every model.

    Args:
        count: Scenes, and edits.
        split: Where they are from.
        size: Side of images in pixels.
        seed: Seed of the choice.
    """
    scenes = tuple(scene_of(seed * APART + number, split) for number in range(count))
    edits = tuple(edit_of(seed * APART + number, split) for number in range(count))
    words = tuple(wordings[number % len(wordings)] for number, wordings in enumerate(map(captions, scenes)))
    instructions = tuple(edit.instructions[number % len(edit.instructions)] for number, edit in enumerate(edits))
    return Prompts(scenes, words, edits, instructions, size)


def drawn(scenes: Sequence[Scene], size: int) -> Pixels:
    """Scenes as pixels."""
    return torch.from_numpy(np.stack([draw(scene, size) for scene in scenes])).permute(0, 3, 1, 2).contiguous()


def through_tokenizer(artist: ImageModel, images: Pixels) -> Pixels:
    """Images as the tokenizer gives them back: what a model could reach at best."""
    return artist.decode(artist.encode(images), range(len(images)))


def readings(images: Pixels) -> list[Reading]:
    """Read images, one by one."""
    return [read(image.permute(1, 2, 0).contiguous().numpy()) for image in images]


def score_drawing(prompts: Prompts, images: Pixels, artist: ImageModel) -> Values:
    """Score images drawn from words, beside originals, what the tokenizer makes of those, and images of other prompts.

    Args:
        prompts: What was asked for.
        images: One a prompt.
        artist: The model, whose tokenizer sets the ceiling.

    Returns:
        Shares of what the words ask for: ``prompt_attributes`` and ``prompt_all_right`` of the images, and the same of
        ``ceiling`` (reconstructions), ``original`` and ``chance`` (originals of the prompt before). And ``prompt_shape`` and the like of
        every kind of part, NaN where the words ask for none.
    """
    originals = drawn(prompts.scenes, prompts.size)
    asked = [asked_in(words) for words in prompts.words]
    real = readings(originals)
    sets = {
        "prompt": readings(images),
        "ceiling": readings(through_tokenizer(artist, originals)),
        "original": real,
        "chance": [real[-1], *real[:-1]],
    }
    found: Values = {}
    for name, seen in sets.items():
        scores = [score(*pair) for pair in zip(asked, seen, strict=True)]
        found[f"{name}_attributes"] = [one.share for one in scores]
        found[f"{name}_all_right"] = [float(one.all_right) for one in scores]
        if name == "prompt":
            for kind in PARTS:
                found[f"prompt_{kind}"] = [one.right[kind] / one.asked[kind] if one.asked.get(kind) else math.nan for one in scores]
    return found


def score_edits(prompts: Prompts, images: Pixels, artist: ImageModel) -> Values:
    """Score edits: whether what was asked changed, whether all is right, and whether the rest stayed.

    Args:
        prompts: What was asked for.
        images: One an edit.
        artist: The model, whose tokenizer sets the ceiling.

    Returns:
        ``edit_change`` and ``edit_all_right``, with ``ceiling_`` of reconstructions of what is right and ``unedited_`` of those of what
        was shown. ``edit_psnr`` is outside of the edit against what is right, in decibels, and ``tokenizer_psnr`` that of the
        reconstruction.
    """
    after = drawn([edit.after for edit in prompts.edits], prompts.size)
    before = drawn([edit.before for edit in prompts.edits], prompts.size)
    ceiling, unedited = through_tokenizer(artist, after), through_tokenizer(artist, before)
    found: Values = {}
    for name, pictures in (("edit", images), ("ceiling_edit", ceiling), ("unedited_edit", unedited)):
        seen = readings(pictures)
        found[f"{name}_change"] = [float(change_is_right(*pair)) for pair in zip(prompts.edits, seen, strict=True)]
        found[f"{name}_all_right"] = [float(score(edit.after, one).all_right) for edit, one in zip(prompts.edits, seen, strict=True)]
    still = [torch.from_numpy(untouched(edit, prompts.size)) for edit in prompts.edits]
    found["edit_psnr"] = _psnr_within(images, after, still)
    found["tokenizer_psnr"] = _psnr_within(ceiling, after, still)
    return found


def change_is_right(edit: Edit, reading: Reading) -> bool:
    """Whether a picture shows what an edit changes: its new things, its new ground, none of what is gone, and so many things."""
    new = [thing for thing in edit.after.things if thing not in edit.before.things]
    gone = {thing.look for thing in edit.before.things} - {thing.look for thing in edit.after.things}
    ground = edit.after.ground if edit.after.ground != edit.before.ground else None
    asked = Asked(
        tuple(AskedThing(thing.shape, thing.colour, thing.size, thing.fill, thing.place) for thing in new),
        ground=None if ground is None else AskedGround(ground.kind, ground.colours),
    )
    found = score(asked, reading)
    changed = all(found.right[kind] == count for kind, count in found.asked.items() if kind != "number")
    return changed and len(reading.things) == len(edit.after.things) and not gone & {thing.look for thing in reading.things}


def score_descriptions(prompts: Prompts, texts: Sequence[str]) -> Values:
    """Score descriptions of originals: the share of what the words say that is so, the number of things among it.

    Args:
        prompts: The scenes.
        texts: One a scene; words that name no thing, or too many, have nothing right.

    Returns:
        ``description_attributes`` and ``description_all_right``.
    """
    scores: list[Score | None] = []
    for scene, text in zip(prompts.scenes, texts, strict=True):
        ground = scene.ground
        truth = Reading(scene.things, ReadGround(ground.kind, ground.colours, ground.direction or None))
        try:
            scores.append(score(asked_in(text), truth))
        except TokbenchError:
            scores.append(None)
    return {
        "description_attributes": [0.0 if one is None else one.share for one in scores],
        "description_all_right": [float(one is not None and one.all_right) for one in scores],
    }


def bits_of_images(prompts: Prompts, artist: ImageModel) -> Values:
    """Bits of originals given their words, and of their lower halves given the upper ones, encoded without what is below.

    Args:
        prompts: The scenes.
        artist: The model.

    Returns:
        ``image_bits`` and ``completion_bits``.
    """
    images = drawn(prompts.scenes, prompts.size)
    codes = artist.encode(images)
    return {"image_bits": image_bits(artist, codes, prompts.words), "completion_bits": completion_bits(artist, images, codes)}


def draw_all(artist: ImageModel, prompts: Prompts, options: SamplingOptions, *, seed: int, progress: Progress) -> Pixels:
    """Draw one image a prompt."""
    return artist.generate(prompts.words, seed=seed, options=options, progress=progress)


def edit_all(artist: ImageModel, prompts: Prompts, options: SamplingOptions, *, seed: int, progress: Progress) -> Pixels:
    """Edit what each edit shows, those that show one image and those that show two."""
    found = torch.empty(len(prompts.edits), 3, prompts.size, prompts.size, dtype=torch.uint8)
    done = 0
    for count in (1, 2):
        places = [place for place, edit in enumerate(prompts.edits) if len(edit.shown) == count]
        if not places:
            continue
        shown = [drawn([prompts.edits[place].shown[part] for place in places], prompts.size) for part in range(count)]
        words = [prompts.instructions[place] for place in places]

        def advance(part: int, total: int, before: int = done) -> None:
            progress(before + part, len(prompts.edits))

        first = shown[0] if count == 2 else None
        found[places] = artist.edit(shown[-1], words, first=first, seed=seed, options=options, progress=advance)
        done += len(places)
    return found


def _psnr_within(images: Pixels, references: Pixels, masks: Sequence[Tensor]) -> list[float]:
    """PSNR over the pixels of a mask, in decibels; what is exact there counts as half a level off in one value."""
    found = []
    for image, reference, mask in zip(images, references, masks, strict=True):
        squares = (image.double() - reference.double())[:, mask] ** 2
        error = max(float(squares.mean()) if squares.numel() else 0.0, 0.25 / max(squares.numel(), 1))
        found.append(10 * math.log10(255**2 / error))
    return found
