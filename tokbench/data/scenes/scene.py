"""What a drawn scene is: one to three things with shape, colour, size, fill and place, on a ground; no pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple, get_args

from tokbench.errors import unknown_name

SCENE_RULE = "scenes-1"
"""Name of the rules by which scenes are drawn from seeds and pixels from scenes; it changes whenever they do."""

Shape = Literal["circle", "square", "triangle", "cross"]
Size = Literal["small", "large"]
Fill = Literal["filled", "striped"]
Place = Literal["top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right"]
GroundKind = Literal["plain", "graded", "photo"]
Direction = Literal["left to right", "top to bottom"]
Relation = Literal["left of", "right of", "above", "below"]
Rgb = tuple[int, int, int]

SHAPES: tuple[Shape, ...] = get_args(Shape)
FILLS: tuple[Fill, ...] = get_args(Fill)
PLACES: tuple[Place, ...] = get_args(Place)
GROUND_KINDS: tuple[GroundKind, ...] = get_args(GroundKind)
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
RELATIONS: tuple[Relation, ...] = get_args(Relation)

COLOURS: dict[str, Rgb] = {
    "red": (215, 20, 50),
    "orange": (255, 130, 0),
    "yellow": (255, 235, 60),
    "green": (40, 180, 60),
    "cyan": (40, 205, 225),
    "blue": (40, 80, 250),
    "purple": (180, 50, 215),
    "white": (250, 250, 250),
}
"""Colours of things. They are bright or saturated, which no ground is; black is left to stripes."""

STRIPE: Rgb = (10, 10, 10)
"""The other colour of striped things."""

GROUNDS: dict[str, Rgb] = {"grey": (130, 130, 130), "sand": (172, 152, 118), "slate": (92, 108, 134), "moss": (104, 126, 92)}
"""Colours of grounds: muted, neither dark nor bright, and at least 44 levels (Euclidean) apart."""

EXTENTS: dict[Size, float] = {"small": 0.26, "large": 0.4}
"""Sides of the squares that things fill, in sides of the picture."""

BANDS: dict[Size, int] = {"small": 3, "large": 5}
"""Bands of striped things from top to bottom; the first and the last have the colour of the thing."""

STOPS = (0.24, 0.5, 0.76)
"""Where the middle of a thing is along each axis, up to ``JITTER``, in sides of the picture."""

JITTER, GAP, MOST_THINGS = 0.03, 0.08, 3
"""Largest distance from a stop, smallest gap between the squares of two things, and how many things there are at most."""


class Look(NamedTuple):
    """What a thing is wherever it is.

    Args:
        size: ``small`` or ``large``.
        fill: ``filled`` or ``striped``.
        colour: One of ``COLOURS``.
        shape: One of ``SHAPES``.
    """

    size: Size
    fill: Fill
    colour: str
    shape: Shape

    def at(self, x: float, y: float) -> Thing:
        """A thing of this look with its middle there, 0 to 1 from the left and from the top."""
        return Thing(self.shape, self.colour, self.size, self.fill, x, y)


@dataclass(frozen=True)
class Thing:
    """One thing of a scene.

    Args:
        shape: One of ``SHAPES``.
        colour: One of ``COLOURS``.
        size: ``small`` or ``large``.
        fill: ``filled`` or ``striped``.
        x: Its middle from the left, 0 to 1 in sides of the picture.
        y: Its middle from the top.

    Raises:
        TokbenchError: If a word is none of those.
        ValueError: If the middle is not in the picture.
    """

    shape: Shape
    colour: str
    size: Size
    fill: Fill
    x: float
    y: float

    def __post_init__(self) -> None:
        for kind, known in (("shape", SHAPES), ("colour", COLOURS), ("size", EXTENTS), ("fill", FILLS)):
            if getattr(self, kind) not in known:
                raise unknown_name(kind, getattr(self, kind), known)
        if not (0 <= self.x <= 1 and 0 <= self.y <= 1):
            raise ValueError(f"the middle of a thing is from 0 to 1 on both axes, got ({self.x}, {self.y})")

    @property
    def extent(self) -> float:
        """Side of the square it fills, in sides of the picture."""
        return EXTENTS[self.size]

    @property
    def place(self) -> Place:
        """The nearest of nine places."""
        return place_of(self.x, self.y)

    @property
    def look(self) -> Look:
        """What it is wherever it is."""
        return Look(self.size, self.fill, self.colour, self.shape)


@dataclass(frozen=True)
class Ground:
    """What things stand on.

    Args:
        kind: ``plain``, ``graded`` or ``photo``.
        colours: One of ``GROUNDS`` for a plain ground, two different ones for a graded one, none for a photo.
        direction: Where a graded ground goes from its first colour to its second; empty for others.
        photo: Id of the embedded photo; empty for others.
        window: Left and top of the cut, 0 to 1 of the room there is.

    Raises:
        TokbenchError: If a word is none of those.
        ValueError: If there are more or fewer colours than the kind has, or the rest does not fit the kind.
    """

    kind: GroundKind
    colours: tuple[str, ...] = ()
    direction: Direction | Literal[""] = ""
    photo: str = ""
    window: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if self.kind not in GROUND_KINDS:
            raise unknown_name("ground", self.kind, GROUND_KINDS)
        for colour in self.colours:
            if colour not in GROUNDS:
                raise unknown_name("colour of grounds", colour, GROUNDS)
        count = {"plain": 1, "graded": 2, "photo": 0}[self.kind]
        if len(set(self.colours)) != count or len(self.colours) != count:
            raise ValueError(f"a {self.kind} ground has {count} different colours, got {self.colours}")
        if (self.direction in DIRECTIONS) != (self.kind == "graded") or bool(self.photo) != (self.kind == "photo"):
            raise ValueError(f"a graded ground has a direction and a photo ground a photo, got {self}")
        if not all(0 <= part <= 1 for part in self.window):
            raise ValueError(f"the window of a photo is from 0 to 1 on both axes, got {self.window}")


@dataclass(frozen=True)
class Scene:
    """One to three things of different colours on a ground, none of which touch each other or the border.

    Args:
        things: In the order in which captions name them.
        ground: What they stand on.

    Raises:
        ValueError: If there are none or too many, two have one colour, or they do not fit.
    """

    things: tuple[Thing, ...]
    ground: Ground

    def __post_init__(self) -> None:
        if not 1 <= len(self.things) <= MOST_THINGS:
            raise ValueError(f"a scene has 1 to {MOST_THINGS} things, got {len(self.things)}")
        if len({thing.colour for thing in self.things}) < len(self.things):
            raise ValueError(f"the things of a scene differ in colour, got {[thing.colour for thing in self.things]}")
        if not fits(self.things):
            raise ValueError(f"these things touch each other or the border: {self.things}")


def fits(things: tuple[Thing, ...]) -> bool:
    """Whether things stay inside of the picture and apart from each other."""
    inside = all(thing.extent / 2 <= at <= 1 - thing.extent / 2 for thing in things for at in (thing.x, thing.y))
    return inside and all(apart(*pair) for pair in combinations([(thing.x, thing.y, thing.extent) for thing in things], 2))


def apart(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    """Whether two squares, each given by its middle and its side, have at least ``GAP`` between them."""
    room = (one[2] + other[2]) / 2 + GAP
    return abs(one[0] - other[0]) >= room or abs(one[1] - other[1]) >= room


def place_of(x: float, y: float) -> Place:
    """The nearest of nine places to a point, 0 to 1 from the left and from the top."""
    column, row = (min(range(3), key=lambda stop: abs(STOPS[stop] - at)) for at in (x, y))
    return PLACES[3 * row + column]


def stops_of(place: Place) -> tuple[float, float]:
    """The middle of a place, from the left and from the top."""
    row, column = divmod(PLACES.index(place), 3)
    return STOPS[column], STOPS[row]


def relation_of(one: Thing, other: Thing, *, margin: float = 0.0) -> Relation | None:
    """Where one thing is, seen from another: along the axis on which they are further apart.

    Args:
        one: The thing.
        other: The thing it is seen from.
        margin: How much further apart they must be on that axis, in sides of the picture.

    Returns:
        The relation; None if none is clear.
    """
    across, down = one.x - other.x, one.y - other.y
    if abs(abs(across) - abs(down)) < margin or math.isclose(abs(across), abs(down), abs_tol=1e-9):
        return None
    if abs(across) > abs(down):
        return "left of" if across < 0 else "right of"
    return "above" if down < 0 else "below"
