"""Names beside the marks of a plot, where there is room for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

CHARACTER, LINE = 6.1, 12.0
"""Width of a character and height of a line at the plots' font size, in pixels of the plot."""


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether the two overlap."""
        return self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom

    def within(self, other: Box) -> bool:
        """Whether this one lies inside the other."""
        return self.left >= other.left and self.right <= other.right and self.top >= other.top and self.bottom <= other.bottom


@dataclass(frozen=True)
class Label:
    """A name in a plot.

    Args:
        text: The name.
        x: Pixel of its anchor.
        y: Pixel of its baseline.
        anchor: ``start``, ``middle`` or ``end``.
        leader: End of a line from the mark to the name, where it stands apart; None where it stands beside.
    """

    text: str
    x: float
    y: float
    anchor: str
    leader: tuple[float, float] | None = None


RINGS = (1.0, 2.0, 3.0, 4.2)
"""How far names may stand from their marks, in steps of a line; beyond the first a line leads to them."""


def place_labels(
    points: Sequence[tuple[float, float, str]], taken: Sequence[Box], frame: Box, *, first: Sequence[bool] | None = None
) -> list[Label | None]:
    """Find a place for each name, beside its mark where there is room, else apart with a line to it.

    Args:
        points: Place of a mark, and its name; an empty name gets no place.
        taken: Where marks lie.
        frame: Names stay inside.
        first: Which names choose before the others; None takes all in their order.

    Returns:
        A label for each point; None without room.
    """
    boxes = list(taken)
    placed: list[Label | None] = [None] * len(points)
    for i in sorted(range(len(points)), key=lambda i: first is not None and not first[i]):
        x, y, text = points[i]
        for label, box in _candidates(x, y, text) if text else ():
            if box.within(frame) and not any(box.meets(other) for other in boxes):
                boxes.append(box)
                placed[i] = label
                break
    return placed


def _candidates(x: float, y: float, text: str) -> Iterator[tuple[Label, Box]]:
    width = CHARACTER * len(text)
    for ring in RINGS:
        for up, side in ((0, 1), (0, -1), (-1, 0), (1, 0), (-0.8, 1), (0.8, 1), (-0.8, -1), (0.8, -1)):
            if ring > 1 and not up:
                continue  # a line along the text would strike through others
            middle = y + up * 14 * ring
            left = x + 9 if side > 0 else x - 9 - width if side < 0 else x - width / 2
            anchor = "start" if side > 0 else "end" if side < 0 else "middle"
            place, box = x + 9 * side, Box(left, middle - LINE / 2, left + width, middle + LINE / 2)
            leader = None if ring == 1 else (round(x + 7 * side, 1), round(middle - LINE / 2 * up / abs(up), 1))
            yield Label(text, round(place, 1), round(middle + 4, 1), anchor, leader), box
