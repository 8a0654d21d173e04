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


def place_labels(
    points: Sequence[tuple[float, float, str]], taken: Sequence[Box], frame: Box
) -> list[tuple[str, float, float, str] | None]:
    """Find a place for each name.

    Args:
        points: Place of a mark, and its name; an empty name gets no place.
        taken: Where marks lie.
        frame: Names stay inside.

    Returns:
        For each point its name, the place of its baseline and the anchor (``start``, ``middle``, ``end``); None without room.
    """
    boxes = list(taken)
    placed: list[tuple[str, float, float, str] | None] = []
    for x, y, text in points:
        found = None
        for label, box in _candidates(x, y, text) if text else ():
            if box.within(frame) and not any(box.meets(other) for other in boxes):
                boxes.append(box)
                found = label
                break
        placed.append(found)
    return placed


def _candidates(x: float, y: float, text: str) -> Iterator[tuple[tuple[str, float, float, str], Box]]:
    width = CHARACTER * len(text)
    for up, side in ((0, 1), (0, -1), (-1, 0), (1, 0), (-0.8, 1), (0.8, 1), (-0.8, -1), (0.8, -1)):
        middle = y + up * 14
        left = x + 9 if side > 0 else x - 9 - width if side < 0 else x - width / 2
        anchor = "start" if side > 0 else "end" if side < 0 else "middle"
        place = x + 9 * side
        yield (text, round(place, 1), round(middle + 4, 1), anchor), Box(left, middle - LINE / 2, left + width, middle + LINE / 2)
