"""Edits of scenes: what is shown, what is asked in words, and the scene that is right."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from tokbench.data.scenes.drawing import draw
from tokbench.data.scenes.random_scenes import generator, pick, random_ground, random_look, random_spot, random_things, sample
from tokbench.data.scenes.scene import COLOURS, GROUND_KINDS, MOST_THINGS, PLACES, Ground, GroundKind, Scene, Thing, fits, place_of
from tokbench.data.scenes.split import SPLITS, SceneSplit, split_of
from tokbench.data.scenes.words import ground_words, place_words, thing_words
from tokbench.errors import TokbenchError, unknown_name

EditKind = Literal["recolour", "resize", "move", "add", "remove", "swap", "ground", "like"]
EDIT_KINDS: tuple[EditKind, ...] = get_args(EditKind)


@dataclass(frozen=True)
class Edit:
    """A task with its answer.

    Args:
        kind: What is asked.
        shown: The scenes that are shown; the last one is to be edited, one before it gives the colours of ``like``.
        after: What is right.
        instructions: What is asked, in several wordings. The first three name things by colour and shape, others by less where it is enough.
    """

    kind: EditKind
    shown: tuple[Scene, ...]
    after: Scene
    instructions: tuple[str, ...]

    @property
    def before(self) -> Scene:
        """The scene to be edited."""
        return self.shown[-1]


def edit_of(
    seed: int, split: SceneSplit = "train", *, kinds: Sequence[EditKind] = EDIT_KINDS, grounds: Sequence[GroundKind] = GROUND_KINDS
) -> Edit:
    """Draw an edit from its seed.

    Args:
        seed: From 0.
        split: Where the answer belongs, ``train``, ``test`` or ``held-out``. Scenes that are shown have things of that split or of
            ``train``, and always its grounds.
        kinds: Kinds of edit to draw from.
        grounds: Kinds of ground to draw from; a new ground is plain or graded in any case, because words cannot say which photo.

    Returns:
        An edit whose answer differs from what it shows.

    Raises:
        TokbenchError: If the seed is negative, or there is no such split, kind of edit or kind of ground.
    """
    if split not in SPLITS:
        raise unknown_name("split of scenes", split, SPLITS)
    if seed < 0:
        raise TokbenchError(f"the seed of an edit is a whole number from 0, got {seed}")
    for what, given, known in (("edit", kinds, EDIT_KINDS), ("ground", grounds, GROUND_KINDS)):
        if not given:
            raise TokbenchError(f"no kind of {what} is given; allowed: {', '.join(known)}")
        for one in given:
            if one not in known:
                raise unknown_name(what, one, known)
    rng = generator("edit", split, seed)
    kind = pick(rng, kinds)
    while True:
        edit = _EDITS[kind](rng, split, grounds)
        if edit is not None and _belongs(edit, split):
            return edit


def untouched(edit: Edit, size: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Where an edit changes nothing: pixels that are the same before and after, away from those that are not.

    Args:
        edit: The edit.
        size: Side in pixels.

    Returns:
        ``[size, size]``, true where nothing may change. Pixels within a 32nd of the side of a change are left out.

    Raises:
        TokbenchError: If scenes are not drawn at this size.
    """
    from scipy import ndimage

    changed = (draw(edit.before, size) != draw(edit.after, size)).any(axis=2)
    reach = size // 32
    return ~ndimage.binary_dilation(changed, np.ones((2 * reach + 1, 2 * reach + 1), dtype=bool))


def _belongs(edit: Edit, split: SceneSplit) -> bool:
    found = [split_of(thing.look for thing in scene.things) for scene in (*edit.shown, edit.after)]
    return found[-1] == split and set(found) <= {"train", split}


def _random_scene(rng: random.Random, split: SceneSplit, grounds: Sequence[GroundKind], count: int) -> Scene:
    """A scene to be shown, of the split or with things of a training scene."""
    shown: SceneSplit = "train" if rng.random() < 0.5 else split
    things = random_things(rng, shown, count)
    return Scene(things, random_ground(rng, split, grounds, things))


def _names(scene: Scene, number: int) -> tuple[str, ...]:
    """What tells a thing from the others: its colour and its shape, or less where that is enough."""
    thing = scene.things[number]
    names = [f"the {thing.colour} {thing.shape}"]
    if [other.shape for other in scene.things].count(thing.shape) == 1:
        names.append(f"the {thing.shape}")
    if [other.colour for other in scene.things].count(thing.colour) == 1:
        names.append(f"the {thing.colour} one")
    if len(scene.things) == 1:
        names.append("it")
    return tuple(names)


def _wordings(names: Sequence[str], *wordings: Callable[[str], str]) -> tuple[str, ...]:
    """All wordings with the first name, and one with each of the others."""
    others = (wordings[place % len(wordings)](name) for place, name in enumerate(names[1:]))
    return (*(wording(names[0]) for wording in wordings), *others)


def _changed(scene: Scene, number: int, thing: Thing) -> Scene | None:
    things = (*scene.things[:number], thing, *scene.things[number + 1 :])
    return Scene(things, scene.ground) if fits(things) else None


def _recolour(rng: random.Random, split: SceneSplit, grounds: Sequence[GroundKind]) -> Edit | None:
    scene = _random_scene(rng, split, grounds, _count(rng))
    number, colour = pick(rng, range(len(scene.things))), _free_colour(rng, scene)
    after = _changed(scene, number, replace(scene.things[number], colour=colour))
    words = _wordings(
        _names(scene, number),
        lambda name: f"make {name} {colour}",
        lambda name: f"change {name} to {colour}",
        lambda name: f"paint {name} {colour}",
    )
    alone = (f"now {colour}",) * (len(scene.things) == 1)
    return None if after is None else Edit("recolour", (scene,), after, (*words, *alone))


def _resize(rng: random.Random, split: SceneSplit, grounds: Sequence[GroundKind]) -> Edit | None:
    scene = _random_scene(rng, split, grounds, _count(rng))
    number = pick(rng, range(len(scene.things)))
    size: Literal["small", "large"] = "small" if scene.things[number].size == "large" else "large"
    after = _changed(scene, number, replace(scene.things[number], size=size))
    more = "larger" if size == "large" else "smaller"
    words = _wordings(
        _names(scene, number),
        lambda name: f"make {name} {size}",
        lambda name: f"make {name} {more}",
        lambda name: f"{name} should be {more}",
    )
    alone = (f"now {more}",) * (len(scene.things) == 1)
    return None if after is None else Edit("resize", (scene,), after, (*words, *alone))


def _move(rng: random.Random, split: SceneSplit, grounds: Sequence[GroundKind]) -> Edit | None:
    scene = _random_scene(rng, split, grounds, _count(rng))
    number, (x, y) = pick(rng, range(len(scene.things))), random_spot(rng)
    place = place_of(x, y)
    if place == scene.things[number].place:
        return None
    after = _changed(scene, number, replace(scene.things[number], x=x, y=y))
    words = _wordings(
        _names(scene, number),
        lambda name: f"move {name} to the {place}",
        lambda name: f"put {name} {place_words(place)}",
        lambda name: f"{name} should be {place_words(place)}",
    )
    return None if after is None else Edit("move", (scene,), after, words)


def _add(rng: random.Random, split: SceneSplit, grounds: Sequence[GroundKind]) -> Edit | None:
    scene = _random_scene(rng, split, grounds, 1 + int(rng.random() * (MOST_THINGS - 1)))
    thing = random_look(rng, _free_colour(rng, scene)).at(*random_spot(rng))
    if not fits((*scene.things, thing)):
        return None
    words = f"{thing_words(thing)} {place_words(thing.place)}"
    return Edit("add", (scene,), Scene((*scene.things, thing), scene.ground), (f"add {words}", f"put {words}", f"draw {words} too"))


def _remove(rng: random.Random, split: SceneSplit, grounds: Sequence[GroundKind]) -> Edit | None:
    scene = _random_scene(rng, split, grounds, 2 + int(rng.random() * (MOST_THINGS - 1)))
    number = pick(rng, range(len(scene.things)))
    after = Scene((*scene.things[:number], *scene.things[number + 1 :]), scene.ground)
    words = _wordings(
        _names(scene, number), lambda name: f"remove {name}", lambda name: f"take {name} away", lambda name: f"leave {name} out"
    )
    return Edit("remove", (scene,), after, words)


def _swap(rng: random.Random, split: SceneSplit, grounds: Sequence[GroundKind]) -> Edit | None:
    scene = _random_scene(rng, split, grounds, 2 + int(rng.random() * (MOST_THINGS - 1)))
    one, other = sample(rng, range(len(scene.things)), 2)
    things = list(scene.things)
    things[one] = replace(scene.things[one], x=scene.things[other].x, y=scene.things[other].y)
    things[other] = replace(scene.things[other], x=scene.things[one].x, y=scene.things[one].y)
    if not fits(tuple(things)):
        return None
    pairs = [(a, b) for a, b in zip(_names(scene, one), _names(scene, other), strict=False) if (" one" in a) == (" one" in b)]
    words = tuple(text for a, b in pairs for text in (f"swap {a} and {b}", f"let {a} and {b} trade places", f"exchange {a} with {b}"))
    return Edit("swap", (scene,), Scene(tuple(things), scene.ground), words)


def _reground(rng: random.Random, split: SceneSplit, grounds: Sequence[GroundKind]) -> Edit | None:
    scene = _random_scene(rng, split, grounds, _count(rng))
    ground: Ground = random_ground(rng, split, ("plain", "graded"), scene.things)
    if (ground.kind, ground.colours) == (scene.ground.kind, scene.ground.colours):
        return None
    if ground.kind == "graded":
        ground = replace(ground, direction="left to right")  # which words need not say
    words = ground_words(ground)
    return Edit("ground", (scene,), replace(scene, ground=ground), (f"put it {words}", f"draw it all {words}", f"show the same {words}"))


def _like(rng: random.Random, split: SceneSplit, grounds: Sequence[GroundKind]) -> Edit | None:
    """Things take the colours of another picture, in the order of reading: by rows, then by columns."""
    count = _count(rng)
    given, scene = (_random_scene(rng, split, grounds, count) for _ in range(2))
    colours = dict(zip(_in_order(scene), (thing.colour for thing in _in_order(given)), strict=True))
    things = tuple(replace(thing, colour=colours[thing]) for thing in scene.things)
    if things == scene.things:
        return None
    words = (
        "give the things of the second image the colours of the first",
        "colour the second image like the first",
        "take the colours of the first image for the second",
    )
    return Edit("like", (given, scene), Scene(things, scene.ground), words)


def _in_order(scene: Scene) -> list[Thing]:
    """Things by rows from top to bottom, then from left to right; no two are at one place."""
    return sorted(scene.things, key=lambda thing: PLACES.index(thing.place))


def _count(rng: random.Random) -> int:
    return 1 + int(rng.random() * MOST_THINGS)


def _free_colour(rng: random.Random, scene: Scene) -> str:
    taken = {thing.colour for thing in scene.things}
    return pick(rng, [colour for colour in COLOURS if colour not in taken])


_EDITS: dict[EditKind, Callable[[random.Random, SceneSplit, Sequence[GroundKind]], Edit | None]] = {
    "recolour": _recolour,
    "resize": _resize,
    "move": _move,
    "add": _add,
    "remove": _remove,
    "swap": _swap,
    "ground": _reground,
    "like": _like,
}
