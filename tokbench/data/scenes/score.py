"""How much of what was asked for is in a picture: the share of its parts that are right.

The parts of a thing are shape, colour, size, fill and place, as far as they are asked for. Each relation is a part, the ground is one, and
so is the number of things. Things that were read are matched to things that were asked for so that most parts are right. What is asked of
a thing without a match is wrong. So::

    share = (right parts of matched things + right relations + right ground + right number) / all parts that were asked for

A picture with more things has more to match, so that the share alone is raised by crowding it. What is to be learned from takes off what
was not asked for, as intersection over union does::

    reward = the same right parts / (all parts that were asked for + 5 for each thing too many)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import permutations

from tokbench.data.scenes.asked import Asked, AskedGround, AskedThing, asked_of
from tokbench.data.scenes.reader import ReadGround, Reading
from tokbench.data.scenes.scene import Scene, Thing, relation_of

THING_PARTS = ("shape", "colour", "size", "fill", "place")
"""Kinds of parts that a thing has."""

PARTS = (*THING_PARTS, "relation", "ground", "number")
"""Kinds of parts."""


@dataclass(frozen=True)
class Score:
    """How much is right.

    Args:
        right: Right parts by kind.
        asked: Parts asked for by kind.
        extra: Things beyond the number asked for.
    """

    right: dict[str, int] = field(hash=False)
    asked: dict[str, int] = field(hash=False)
    extra: int = 0

    @property
    def share(self) -> float:
        """Right parts over all parts that were asked for."""
        return sum(self.right.values()) / sum(self.asked.values())

    @property
    def reward(self) -> float:
        """Right parts over the parts that were asked for and those of things too many, 0 to 1."""
        return sum(self.right.values()) / (sum(self.asked.values()) + len(THING_PARTS) * self.extra)

    @property
    def all_right(self) -> bool:
        """Whether every part is right."""
        return self.right == self.asked


def score(asked: Asked | Scene, reading: Reading) -> Score:
    """Hold a reading against what was asked for.

    Args:
        asked: What a sentence asks for, or a whole scene.
        reading: What is in the picture.

    Returns:
        Parts that are right and parts that were asked for, of each kind that occurs.
    """
    wanted = asked_of(asked) if isinstance(asked, Scene) else asked
    all_parts = Counter(kind for thing in wanted.things for kind in _parts(thing))
    all_parts.update({"relation": len(wanted.relations), "ground": int(wanted.ground is not None), "number": 1})
    right = max((_right(wanted, match) for match in _matches(wanted, reading)), key=lambda found: sum(found.values()))
    right["ground"] = int(wanted.ground is not None and _same_ground(wanted.ground, reading.ground))
    right["number"] = int(len(wanted.things) == len(reading.things))
    kinds = [kind for kind in PARTS if all_parts[kind]]
    extra = max(0, len(reading.things) - len(wanted.things))
    return Score({kind: right[kind] for kind in kinds}, {kind: all_parts[kind] for kind in kinds}, extra)


def _parts(thing: AskedThing) -> dict[str, str]:
    named = {kind: getattr(thing, kind) for kind in THING_PARTS}
    return {kind: value for kind, value in named.items() if value is not None}


def _matches(wanted: Asked, reading: Reading) -> Iterator[tuple[Thing | None, ...]]:
    """Every way to give each thing asked for one of those read, or none."""
    missing = [None] * max(0, len(wanted.things) - len(reading.things))
    return permutations([*reading.things, *missing], len(wanted.things))


def _right(wanted: Asked, match: tuple[Thing | None, ...]) -> Counter[str]:
    right: Counter[str] = Counter()
    for thing, found in zip(wanted.things, match, strict=True):
        if found is not None:
            right.update(kind for kind, value in _parts(thing).items() if getattr(found, kind) == value)
    for one, relation, other in wanted.relations:
        here, there = match[one], match[other]
        right["relation"] += here is not None and there is not None and relation_of(here, there) == relation
    return right


def _same_ground(wanted: AskedGround, found: ReadGround) -> bool:
    return wanted.kind == found.kind and wanted.colours in ((), found.colours)
