"""Tiles of a large image: where they lie, whose token a position has, and how far neighbours fade into each other; no torch.

    |<------- tile ------->|
                     |<------- tile ------->|
                     |<--->|                       overlap, at least as asked for
                        |                          border

Left of the border tokens are the first tile's, right of it the second one's; around it pixels are mixed of both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from tokbench.configs import UNLESS_DEFAULT

LEAST = 32
"""Positions of a window along an axis, where a tile has so many for two."""


@dataclass(frozen=True)
class Tiling:
    """How large images are cut, the same way along both axes.

    Args:
        size: Side of a tile in pixels.
        overlap: Pixels that a tile shares with the next one, at least. Over the middle half of them one fades into the other; what lies
            outside of that half is there for what a network sees around a pixel.
        windows: Windows along each axis, together as large as a tile, by which layers that look at all of a map know of the rest of it. With
            0 they see one tile alone, as before there were any.
        halfway: Whether a network's half that works on its smallest maps sees the whole image, where these maps are small enough.

    Raises:
        ValueError: If the side is not positive, the overlap is negative or more than half of it, or windows are negative.
    """

    size: int
    overlap: int
    windows: int = field(default=0, metadata=UNLESS_DEFAULT)
    halfway: bool = field(default=False, metadata=UNLESS_DEFAULT)

    def __post_init__(self) -> None:
        if self.windows < 0:
            raise ValueError(f"there are 0 or more windows along an axis, got {self.windows}")
        if self.size < 1 or not 0 <= self.overlap <= self.size // 2:
            raise ValueError(f"tiles need a positive side and an overlap of 0 to half of it, got {self.size} and {self.overlap}")

    def spans(self, positions: int, stride: int) -> tuple[Span, ...]:
        """Cut one axis: tiles of one length, spread evenly, as few as have the overlap; a single one where the axis is no longer.

        Args:
            positions: Positions of the grid along the axis.
            stride: Pixels a position covers; side and overlap must be multiples.
        """
        tile, overlap = self.size // stride, self.overlap // stride
        if positions <= tile:
            return (Span(0, positions, 0, positions),)
        last = -(-(positions - overlap) // (tile - overlap)) - 1
        starts = [number * (positions - tile) // last for number in range(last + 1)]
        fade = min(overlap // 2, *(after - before for before, after in pairwise(starts)))
        borders = [0, *((before + tile + after) // 2 for before, after in pairwise(starts)), positions]
        return tuple(
            Span(start, start + tile, first, end, 0 if first == 0 else fade, 0 if end == positions else fade)
            for start, (first, end) in zip(starts, pairwise(borders), strict=True)
        )

    def sights(self, positions: int, stride: int) -> tuple[range, ...]:
        """Windows along one axis, each in the middle of one of equal parts of it; a single one where the axis is no longer than a tile.

        They are fewer than ``windows`` where each had less than ``LEAST`` positions, whose edges would say too much.

        Args:
            positions: Positions of the grid along the axis.
            stride: Pixels a position covers.
        """
        tile = self.size // stride
        if positions <= tile:
            return (range(positions),)
        count = min(self.windows, max(2, tile // LEAST), tile)
        side = tile // count
        borders = [part * positions // count for part in range(count + 1)]
        starts = [(before + after - side) // 2 for before, after in pairwise(borders)]
        return tuple(range(start, start + side) for start in starts)


@dataclass(frozen=True)
class Span:
    """One tile along one axis, in positions of the whole grid.

    Args:
        start: Its first position.
        stop: The one after its last.
        first: The first position whose token is taken from it: its own centre is the nearest one, of two equally near the later.
        end: The one after the last such position.
        fade_in: Positions around ``first`` over which it fades in; 0 at the edge of the image.
        fade_out: Positions around ``end`` over which it fades out, likewise.
    """

    start: int
    stop: int
    first: int
    end: int
    fade_in: int = 0
    fade_out: int = 0

    @property
    def inner(self) -> range:
        """Positions whose pixels are this tile's alone."""
        return range(self.first - self.fade_in // 2 + self.fade_in, self.end - self.fade_out // 2)
