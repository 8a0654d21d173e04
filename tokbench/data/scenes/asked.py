"""What a scene or a sentence asks for, part by part: what is read from a picture is held against it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from tokbench.data.scenes.scene import (
    COLOURS,
    EXTENTS,
    GROUNDS,
    MOST_THINGS,
    PLACES,
    SHAPES,
    Fill,
    GroundKind,
    Place,
    Relation,
    Scene,
    Shape,
    Size,
)
from tokbench.errors import TokbenchError

if TYPE_CHECKING:
    from tokbench.data.scenes.reader import Reading

LONGEST = 2000
"""Characters of a sentence at most."""

SYNONYMS = {
    **dict.fromkeys(("disc", "disk", "ball"), "circle"),
    **dict.fromkeys(("big", "huge"), "large"),
    **dict.fromkeys(("little", "tiny"), "small"),
    **dict.fromkeys(("solid", "plain"), "filled"),
    **dict.fromkeys(("centre", "center"), "middle"),
    **dict.fromkeys(("over",), "above"),
    **dict.fromkeys(("under", "beneath"), "below"),
    **dict.fromkeys(("gray",), "grey"),
    **dict.fromkeys(("background", "backdrop"), "ground"),
    "box": "square",
    "plus": "cross",
    "stripy": "striped",
    "violet": "purple",
}
"""Other words that are understood."""


@dataclass(frozen=True)
class AskedThing:
    """One thing that is asked for; None is what nothing is said of.

    Args:
        shape: Its shape.
        colour: Its colour.
        size: Its size.
        fill: Its fill.
        place: Where it is in the picture.
    """

    shape: Shape | None = None
    colour: str | None = None
    size: Size | None = None
    fill: Fill | None = None
    place: Place | None = None


@dataclass(frozen=True)
class AskedGround:
    """What things are to stand on.

    Args:
        kind: ``plain``, ``graded`` or ``photo``.
        colours: Its colours, the first one of a graded ground first; empty where nothing is said of them.
    """

    kind: GroundKind
    colours: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """What is asked for.

    Args:
        things: The things, in the order in which they are named.
        relations: Number of a thing, where it is, and number of the thing it is seen from.
        ground: What they stand on; None if nothing is said of it.
    """

    things: tuple[AskedThing, ...]
    relations: tuple[tuple[int, Relation, int], ...] = ()
    ground: AskedGround | None = None


def asked_of(scene: Scene | Reading) -> Asked:
    """Ask for a whole scene: look and place of all its things, and its ground.

    Args:
        scene: The scene, or what is read from a picture.

    Returns:
        Everything that a reader can tell of it.
    """
    things = tuple(AskedThing(thing.shape, thing.colour, thing.size, thing.fill, thing.place) for thing in scene.things)
    return Asked(things, ground=AskedGround(scene.ground.kind, scene.ground.colours))


def asked_in(text: str) -> Asked:
    """Ask for what a sentence says, in the words of ``captions`` or words near them.

    ``the red circle`` speaks of a thing again, ``a red circle`` of another one. A thing is filled unless it is called striped. A place
    belongs to the thing before it. A relation stands between its two things; after ``and`` it belongs to the thing of the relation
    before it. Words that are not known are passed over.

    Args:
        text: The sentence.

    Returns:
        What it asks for.

    Raises:
        TokbenchError: If it is longer than ``LONGEST``, or names no thing or too many.
    """
    if len(text) > LONGEST:
        raise TokbenchError(f"a sentence about a scene has at most {LONGEST} characters, got {len(text)}; shorten it")
    words = (SYNONYMS.get(word, word) for word in re.findall(r"[a-z]+", text.lower()))
    hearing = _Hearing()
    for match in _PART.finditer(" ".join(words)):
        hearing.take(match)
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    if not hearing.things:
        raise TokbenchError(f"no thing is named in {shown!r}; name shapes ({', '.join(SHAPES)}), as in 'a small red circle'")
    if len(hearing.things) > MOST_THINGS:
        raise TokbenchError(f"{len(hearing.things)} things are named in {shown!r}; a scene has at most {MOST_THINGS}")
    return Asked(tuple(hearing.things), tuple(hearing.relations), hearing.ground)


_GROUND = "|".join(GROUNDS)
_PART = re.compile(
    rf"\bon (?:a|an|the) (?:(?P<photo>photo)|(?:(?P<graded>graded )?ground(?: graded| that goes)? from (?P<first>{_GROUND}) to (?P<second>{_GROUND}))"
    rf"|(?:filled )?(?P<plain>{_GROUND}) ground|(?P<any>filled|graded) ground)\b"
    rf"|\b(?P<also>and )?(?:to the |is )*(?P<relation>left of|right of|above|below)\b"
    rf"|\b(?:at|in|on) the (?P<place>{'|'.join(sorted(PLACES, key=len, reverse=True))})\b(?! of)"
    rf"|\b(?P<article>the )?(?P<looks>(?:(?:small|large|filled|striped|{'|'.join(COLOURS)}) )*)(?P<shape>{'|'.join(SHAPES)})s?\b"
)
"""A ground, a relation, a place or a thing. ``plain`` has become ``filled`` by then."""


class _Hearing:
    """What has been said so far."""

    def __init__(self) -> None:
        self.things: list[AskedThing] = []
        self.relations: list[tuple[int, Relation, int]] = []
        self.ground: AskedGround | None = None
        self._last: int | None = None
        self._open: tuple[int, Relation] | None = None  # a relation whose second thing is still to come

    def take(self, match: re.Match[str]) -> None:
        """Take in the next part."""
        part = match.groupdict()
        if part["shape"]:
            self._take_thing(part)
        elif part["relation"]:
            again = part["also"] and self.relations
            subject = self.relations[-1][0] if again else self._last
            self._open = None if subject is None else (subject, cast(Relation, part["relation"]))
        elif part["place"]:
            if self._last is not None:
                self.things[self._last] = replace(self.things[self._last], place=cast(Place, part["place"]))
        elif part["photo"]:
            self.ground = AskedGround("photo")
        elif part["first"]:
            self.ground = AskedGround("graded", (part["first"], part["second"]))
        elif part["plain"]:
            self.ground = AskedGround("plain", (part["plain"],))
        else:
            self.ground = AskedGround("graded" if part["any"] == "graded" else "plain")

    def _take_thing(self, part: dict[str, str]) -> None:
        looks = part["looks"].split()
        colour = next((word for word in looks if word in COLOURS), None)
        thing = AskedThing(
            cast(Shape, part["shape"]),
            colour,
            cast(Size | None, next((word for word in EXTENTS if word in looks), None)),
            "striped" if "striped" in looks else "filled",
        )
        known = [number for number, seen in enumerate(self.things) if (seen.shape, seen.colour) == (thing.shape, colour)]
        if part["article"] and known:
            self._last = known[-1]
        else:
            self.things.append(thing)
            self._last = len(self.things) - 1
        if self._open is not None and self._open[0] != self._last:
            self.relations.append((*self._open, self._last))
        self._open = None
