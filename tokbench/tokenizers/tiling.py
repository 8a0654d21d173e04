"""Tiles of a large image: where they lie, whose token a position has, and how far neighbours fade into each other; no torch.

    |<------- tile ------->|
                     |<------- tile ------->|
                     |<--->|                       overlap, at least as asked for
                        |                          border

Left of the border tokens are the first tile's, right of it the second one's; around it pixels are mixed of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Tiling:
    """How large images are cut, the same way along both axes.

    Args:
        size: Side of a tile in pixels.
        overlap: Pixels that a tile shares with the next one, at least. Over the middle half of them one fades into the other; what lies
            outside of that half is there for what a network sees around a pixel.

    Raises:
        ValueError: If the side is not positive, or the overlap is negative or more than half of it.
    """

    size: int
    overlap: int

    def __post_init__(self) -> None:
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
