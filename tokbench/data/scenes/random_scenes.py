"""Scenes drawn from seeds, as many as there are numbers."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

from tokbench.data.photos import photo_rows
from tokbench.data.scenes.grounds import MIN_TEXTURE, texture
from tokbench.data.scenes.scene import (
    COLOURS,
    DIRECTIONS,
    EXTENTS,
    FILLS,
    GROUND_KINDS,
    GROUNDS,
    JITTER,
    MOST_THINGS,
    SCENE_RULE,
    SHAPES,
    STOPS,
    Ground,
    GroundKind,
    Look,
    Scene,
    Thing,
    apart,
)
from tokbench.data.scenes.split import SPLITS, SceneSplit, photo_split, split_of
from tokbench.errors import TokbenchError, unknown_name

TRIES = 12
"""Spots drawn for a thing before all things of the scene are drawn anew."""

Item = TypeVar("Item")


def scene_of(seed: int, split: SceneSplit = "train", *, things: int | None = None, grounds: Sequence[GroundKind] = GROUND_KINDS) -> Scene:
    """Draw a scene from its seed, the same one everywhere.

    Args:
        seed: From 0.
        split: ``train``, ``test`` or ``held-out``; each has scenes of its own for every seed.
        things: How many things there are, 1 to 3; None draws it.
        grounds: Kinds of ground to draw from.

    Returns:
        A scene of that split.

    Raises:
        TokbenchError: If the seed is negative, there is no such split or kind of ground, or no scene has so many things.
    """
    if split not in SPLITS:
        raise unknown_name("split of scenes", split, SPLITS)
    if seed < 0:
        raise TokbenchError(f"the seed of a scene is a whole number from 0, got {seed}")
    if things is not None and not 1 <= things <= MOST_THINGS:
        raise TokbenchError(f"a scene has 1 to {MOST_THINGS} things, got {things}")
    if not grounds:
        raise TokbenchError(f"no kind of ground is given; allowed: {', '.join(GROUND_KINDS)}")
    for kind in grounds:
        if kind not in GROUND_KINDS:
            raise unknown_name("ground", kind, GROUND_KINDS)
    rng = generator("scene", split, seed)
    count = 1 + below(rng, MOST_THINGS)  # drawn whether it is asked for or not
    found = random_things(rng, split, things or count)
    return Scene(found, random_ground(rng, split, grounds, found))


def random_things(rng: random.Random, split: SceneSplit, count: int) -> tuple[Thing, ...]:
    """Draw things that fit and whose set belongs to a split.

    Args:
        rng: The generator.
        split: The split.
        count: How many, 1 to 3.

    Returns:
        The things; they differ in colour.
    """
    while True:
        looks = [random_look(rng, colour) for colour in sample(rng, tuple(COLOURS), count)]
        if split_of(looks) == split and (spots := _spots(rng, [EXTENTS[look.size] for look in looks])):
            return tuple(look.at(x, y) for look, (x, y) in zip(looks, spots, strict=True))


def random_look(rng: random.Random, colour: str) -> Look:
    """Draw what a thing of one colour is."""
    return Look(pick(rng, tuple(EXTENTS)), pick(rng, FILLS), colour, pick(rng, SHAPES))


def random_spot(rng: random.Random) -> tuple[float, float]:
    """Draw the middle of a thing near one of the nine places."""
    return jittered(rng, pick(rng, STOPS)), jittered(rng, pick(rng, STOPS))


def _spots(rng: random.Random, extents: Sequence[float]) -> list[tuple[float, float]]:
    """Draw where things of these extents are, one after the other; none if there was no room for one of them."""
    taken: list[tuple[float, float, float]] = []
    for extent in extents:
        for _ in range(TRIES):
            x, y = random_spot(rng)
            if all(apart((x, y, extent), other) for other in taken):
                taken.append((x, y, extent))
                break
        else:
            return []
    return [(x, y) for x, y, _ in taken]


def jittered(rng: random.Random, stop: float) -> float:
    """Draw a point near a stop."""
    return stop + (2 * rng.random() - 1) * JITTER


def random_ground(rng: random.Random, split: SceneSplit, kinds: Sequence[GroundKind], things: Sequence[Thing]) -> Ground:
    """Draw a ground.

    Args:
        rng: The generator.
        split: Whose photos grounds are cut from.
        kinds: Kinds to draw from.
        things: What stands on it.

    Returns:
        The ground; what is seen of a photo is not flat.
    """
    kind = pick(rng, kinds)
    if kind == "photo":
        photos = photo_rows(photo_split(split))
        while True:
            photo, window = pick(rng, photos).id, (rng.random(), rng.random())
            if texture(photo, window, things) >= MIN_TEXTURE:
                return Ground("photo", photo=photo, window=window)
    if kind == "plain":
        return Ground("plain", (pick(rng, tuple(GROUNDS)),))
    first, second = sample(rng, tuple(GROUNDS), 2)
    return Ground("graded", (first, second), pick(rng, DIRECTIONS))


def generator(what: str, split: SceneSplit, seed: int) -> random.Random:
    """A generator of its own for one thing to be drawn."""
    return random.Random(int.from_bytes(hashlib.sha256(f"{SCENE_RULE}:{what}:{split}:{seed}".encode()).digest(), "big"))


def below(rng: random.Random, limit: int) -> int:
    """Draw a whole number from 0 below a limit, with the one draw that every version of Python makes alike."""
    return int(rng.random() * limit)


def pick(rng: random.Random, choices: Sequence[Item]) -> Item:
    """Draw one of several."""
    return choices[below(rng, len(choices))]


def sample(rng: random.Random, choices: Sequence[Item], count: int) -> list[Item]:
    """Draw several different ones, in random order."""
    left = list(choices)
    return [left.pop(below(rng, len(left))) for _ in range(count)]
