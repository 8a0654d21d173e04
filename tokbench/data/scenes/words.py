"""Words for scenes: every wording says all there is to say of the things, and where they are by places or by each other."""

from __future__ import annotations

from tokbench.data.scenes.scene import JITTER, Ground, Place, Relation, Scene, Thing, relation_of

CLEAR = 2 * JITTER
"""How much further apart things must be on one axis than on the other, in sides of the picture, to be told by a relation."""

LONG: dict[Relation, str] = {"left of": "to the left of", "right of": "to the right of", "above": "over", "below": "under"}
"""Other words for relations."""


def captions(scene: Scene) -> tuple[str, ...]:
    """Put a scene into words.

    Args:
        scene: What is there.

    Returns:
        Four to six wordings, all different and without the scene's jitter. Each names shape, colour, size and place or relation of
        all things, and stripes where there are any; every second one names the ground.
    """
    ground = f" {ground_words(scene.ground)}"
    places = [f"{thing_words(thing)} {place_words(thing.place)}" for thing in scene.things]
    listed, there = _joined(places), f"there is {_joined(places)}"
    wordings = [listed, f"{listed}, all {ground.strip()}" if len(places) > 1 else listed + ground, there, f"a picture of {listed},{ground}"]
    related = _related(scene, long=False)
    if related is not None:
        wordings = [related, f"{related},{ground}", *wordings[:3], f"{_related(scene, long=True)},{ground}"]
    return tuple(wordings)


def thing_words(thing: Thing, *, article: str = "a") -> str:
    """A thing with all that it looks like: ``a small striped red circle``."""
    striped = "striped " * (thing.fill == "striped")
    return f"{article} {thing.size} {striped}{thing.colour} {thing.shape}"


def place_words(place: Place) -> str:
    """Where a thing is: ``at the top left``."""
    return f"{'in' if place == 'middle' else 'at'} the {place}"


def ground_words(ground: Ground) -> str:
    """What things stand on: ``on a plain grey ground``."""
    if ground.kind == "photo":
        return "on a photo"
    if ground.kind == "plain":
        return f"on a plain {ground.colours[0]} ground"
    return f"on a ground that goes from {ground.colours[0]} to {ground.colours[1]}"


def _related(scene: Scene, *, long: bool) -> str | None:
    """The second thing told by the first, the third by one of both; None if there is one thing, or a relation is not clear."""
    first, *others = scene.things
    if not others or (relation := relation_of(first, others[0], margin=CLEAR)) is None:
        return None
    text = f"{thing_words(first)} {_relation_words(relation, long)} {thing_words(others[0])}"
    for third in others[1:]:
        clear = ((relation_of(third, seen, margin=CLEAR), seen) for seen in (others[0], first))
        told = next(((found, seen) for found, seen in clear if found is not None), None)
        if told is None:
            return None
        text += f" and {thing_words(third)} {_relation_words(told[0], long)} the {told[1].colour} {told[1].shape}"
    return text


def _relation_words(relation: Relation, long: bool) -> str:
    return LONG[relation] if long else relation


def _joined(parts: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
