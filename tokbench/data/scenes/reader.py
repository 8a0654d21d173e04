"""From pixels back to the scene, by rule: colours are told apart, and the template that explains the pixels best is what is there.

::

    pixels -> nearest colour a pixel -> components of each colour -> window around each component
                      |                                                     |
                      v                                                     v
        plane through what is left: ground             least squares over 4 shapes x 2 sizes x 2 fills x places
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from PIL import Image

from tokbench.data.scenes.drawing import coverage, stripes
from tokbench.data.scenes.grounds import BRIGHTEST, DARKEST, Pixels
from tokbench.data.scenes.scene import (
    BANDS,
    COLOURS,
    EXTENTS,
    FILLS,
    GROUNDS,
    SHAPES,
    STRIPE,
    Direction,
    Fill,
    GroundKind,
    Shape,
    Size,
    Thing,
)
from tokbench.errors import TokbenchError
from tokbench.resizing import resized

READER_RULE = "scene-reader-1"
"""Name of the rules below; it changes whenever they do."""

SIDES = (16, 1024)
"""Smallest and largest side of a picture that is read, in pixels."""

READ_SIDE = 64
"""Side at which pictures are read, in pixels; others are scaled to it."""

MUTED = 25.0
"""How far from grey a ground may be, in levels (Euclidean), before it counts as coloured."""

NEAREST, FURTHEST, DEVIATIONS = 34.0, 60.0, 3.0
"""What stands out from the ground: so many deviations of the ground, within these levels (Euclidean)."""

STAIN = 12.0
"""On rough grounds, things are so far from what any ground may be, in levels (Euclidean)."""

WEAKEST = 0.4
"""Colours may be mixed with the ground; least share of the colour."""

LEAST_AREA = 0.012
"""Least area of what may be a thing, in areas of the picture: a third of the smallest one."""

LEAST_EXPLAINED = 0.5
"""Least share of the squared deviations around a thing that it must explain; below, it is a stain."""

SPLIT = 0.25
"""Least share of its pixels that a colour must have for what is too large for one thing to be taken for two."""

REACH = 4
"""How far the middle of a thing is searched from the middle of what stands out, in pixels."""

MARGIN = 3
"""Pixels around things that do not count as ground."""

MOST_READ = 8
"""Things at most that are read from a picture."""

ROUGH, STEEP = 3.5, 24.0
"""Smallest deviation from a plane, in grey levels, of a photo; smallest way of a gradient from end to end, in levels (Euclidean)."""

Floats = np.ndarray[Any, np.dtype[np.float64]]
Singles = np.ndarray[Any, np.dtype[np.float32]]
Numbers = np.ndarray[Any, np.dtype[np.int64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class ReadGround:
    """A ground as it is read.

    Args:
        kind: ``plain``, ``graded`` or ``photo``.
        colours: The nearest colours of grounds, from left to right or from top to bottom; empty for a photo.
        direction: Where a gradient goes; empty for others.
    """

    kind: GroundKind
    colours: tuple[str, ...] = ()
    direction: Direction | None = None


@dataclass(frozen=True)
class Reading:
    """What is read from a picture.

    Args:
        things: The things, the largest first.
        ground: What they stand on.
    """

    things: tuple[Thing, ...]
    ground: ReadGround


def read(pixels: Pixels) -> Reading:
    """Read a picture of a scene.

    Args:
        pixels: Bytes ``[side, side, 3]``, as drawn or as they came back from wherever they were.

    Returns:
        Whatever is found, none to eight things.

    Raises:
        TokbenchError: If it is no square picture of bytes of a side of 16 to 1024 pixels.
    """
    pixels = np.asarray(pixels)
    side = pixels.shape[0] if pixels.ndim else 0
    if pixels.dtype != np.uint8 or pixels.shape != (side, side, 3) or not SIDES[0] <= side <= SIDES[1]:
        raise TokbenchError(
            f"scenes are read from square pictures of bytes, uint8 [side, side, 3] of {SIDES[0]} to {SIDES[1]} px, "
            f"got {pixels.dtype} {list(pixels.shape)}"
        )
    picture = _scaled(pixels).astype(np.float64)
    beyond = _beyond_grounds(picture)
    plane, limit = _ground_plane(picture, beyond < NEAREST)
    rest = picture - plane
    standing_out = np.linalg.norm(rest, axis=2) > limit
    away = ~standing_out
    rough = _roughness(rest, away) >= ROUGH
    spots = _spots(rest, plane, standing_out & (beyond > STAIN) if rough else standing_out)
    owner = _owners(spots)
    fitted = [_fit(rest, plane, spot, owner == number) for number, spot in enumerate(spots)]
    things = tuple(thing for thing in fitted if thing is not None)
    for thing in things:
        away[_stretch(thing.y, thing.extent), _stretch(thing.x, thing.extent)] = False
    return Reading(things, _read_ground(picture, _plane(picture, away), away))


@dataclass(frozen=True)
class _Spot:
    """What stands out at one place.

    Args:
        mask: Its pixels.
        colour: Number of its colour.
        body: Mean deviation from the ground of its pixels of that colour.
        bars: The same of its dark pixels; of the stripe if there are none.
        top: Its first row.
        bottom: The row after its last.
        left: Its first column.
        right: The column after its last.
    """

    mask: Mask
    colour: int
    body: Floats
    bars: Floats
    top: int
    bottom: int
    left: int
    right: int


_PALETTE = np.array([*COLOURS.values(), STRIPE], dtype=np.float64)
_STRIPE = len(COLOURS)
_LUMINANCE = np.array([0.299, 0.587, 0.114])


def _scaled(pixels: Pixels) -> Pixels:
    """The picture at ``READ_SIDE``: averaged if it is larger, interpolated if it is smaller."""
    side = len(pixels)
    if side == READ_SIDE:
        return pixels
    how = Image.Resampling.BOX if side > READ_SIDE else Image.Resampling.BICUBIC
    return np.asarray(resized(Image.fromarray(pixels), (READ_SIDE, READ_SIDE), how))


def _ground_plane(picture: Floats, ground: Mask) -> tuple[Floats, float]:
    """The plane of the ground, and how far from it things begin, in levels; found in turns from what looks like ground."""
    limit = FURTHEST
    for _ in range(3):
        plane = _plane(picture, ground)
        far = np.linalg.norm(picture - plane, axis=2)
        deviation = float(np.sqrt((far[ground] ** 2).mean())) if ground.any() else FURTHEST
        limit = min(max(DEVIATIONS * deviation, NEAREST), FURTHEST)
        ground = far < limit
    return plane, limit


def _beyond_grounds(picture: Floats) -> Floats:
    """How far each pixel is from what any ground may be, in levels (Euclidean)."""
    grey = picture @ _LUMINANCE
    outside = np.maximum(0, np.maximum(DARKEST - grey, grey - BRIGHTEST))
    coloured = np.maximum(0, np.linalg.norm(picture - grey[..., None], axis=2) - MUTED)
    return np.sqrt(3 * outside**2 + coloured**2)


def _spots(rest: Floats, plane: Floats, mask: Mask) -> list[_Spot]:
    """Connected parts that stand out, the largest first; two colours that touch are two."""
    from scipy import ndimage

    closed = ndimage.binary_closing(np.pad(mask, 2), np.ones((3, 3), dtype=bool))[2:-2, 2:-2]
    labels, _ = ndimage.label(closed)
    spots = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        part = labels == number
        if part.sum() < LEAST_AREA * part.size:
            continue
        votes = _votes(rest, plane, part & mask)
        counts = np.bincount(votes[votes >= 0], minlength=len(_PALETTE))[:_STRIPE]
        longest = max(rows.stop - rows.start, columns.stop - columns.start)
        if longest > 1.2 * max(EXTENTS.values()) * READ_SIDE:
            colours = [colour for colour in np.argsort(-counts) if counts[colour] >= max(SPLIT * counts.sum(), LEAST_AREA * part.size)]
        else:
            colours = [int(counts.argmax())] if counts.any() else []
        spots += [_spot(rest, plane, votes, int(colour), part if len(colours) == 1 else votes == colour) for colour in colours]
    return sorted(spots, key=lambda spot: -int(spot.mask.sum()))[:MOST_READ]


def _spot(rest: Floats, plane: Floats, votes: Numbers, colour: int, mask: Mask) -> _Spot:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    dark = mask & (votes == _STRIPE)
    bars = rest[dark].mean(axis=0) if dark.any() else np.array(STRIPE) - plane[(top + bottom) // 2, (left + right) // 2]
    return _Spot(mask, colour, rest[votes == colour].mean(axis=0), bars, top, bottom, left, right)


def _votes(rest: Floats, plane: Floats, part: Mask) -> Numbers:
    """Number of the colour that each pixel of a part is nearest to, where colours may be mixed with the ground; -1 elsewhere."""
    own, towards = rest[part], _PALETTE[None] - plane[part][:, None]
    share = np.clip((own[:, None] * towards).sum(axis=2) / (towards**2).sum(axis=2), WEAKEST, 1)
    votes = np.full(part.shape, -1)
    votes[part] = ((own[:, None] - share[..., None] * towards) ** 2).sum(axis=2).argmin(axis=1)
    return votes


def _stretch(middle: float, extent: float) -> slice:
    """Pixels of one axis that a thing fills, and some around it."""
    return slice(max(0, int((middle - extent / 2) * READ_SIDE) - MARGIN), int((middle + extent / 2) * READ_SIDE) + MARGIN + 1)


def _plane(picture: Floats, where: Mask) -> Floats:
    """The plane through the pixels of each channel that lie where they may, ``[side, side, 3]``; through all if there are few."""
    if where.sum() < READ_SIDE:
        where = np.ones_like(where)
    basis = _basis()
    kept = basis * where[..., None]
    squares, products = (np.tensordot(kept, other, axes=((0, 1), (0, 1))) for other in (basis, picture))
    weights, *_ = np.linalg.lstsq(squares, products, rcond=None)
    return basis @ weights


@cache
def _basis() -> Floats:
    at = (np.arange(READ_SIDE) + 0.5) / READ_SIDE - 0.5
    return np.stack([np.ones((READ_SIDE, READ_SIDE)), *np.meshgrid(at, at)], axis=2)


def _owners(spots: list[_Spot]) -> Numbers:
    """Number of the spot whose box is nearest to each pixel."""
    at = np.arange(READ_SIDE)
    down = [np.maximum(0, np.maximum(spot.top - at, at - spot.bottom + 1)) for spot in spots]
    across = [np.maximum(0, np.maximum(spot.left - at, at - spot.right + 1)) for spot in spots]
    far = [np.maximum(rows[:, None], columns[None]) for rows, columns in zip(down, across, strict=True)]
    return np.stack(far).argmin(axis=0) if far else np.zeros((READ_SIDE, READ_SIDE), dtype=np.int64)


@dataclass(frozen=True)
class _Templates:
    """Every shape, size and fill at a quarter of the offsets within a pixel.

    Args:
        names: Shape, size and fill of each.
        offsets: Right and down from the middle of the window, in pixels.
        body: Share of the colour in each pixel, flattened.
        bars: Share of the stripes.
    """

    names: list[tuple[Shape, Size, Fill]]
    offsets: list[tuple[float, float]]
    body: Singles
    bars: Singles


_HALF = int(max(EXTENTS.values()) / 2 * READ_SIDE + 2)
"""Half the window of templates, in pixels."""


@cache
def _templates() -> _Templates:
    at = np.arange(-_HALF, _HALF + 1, dtype=np.float32)
    names, offsets, body, bars = [], [], [], []
    for shape, size, fill, across, down in product(SHAPES, EXTENTS, FILLS, (-0.25, 0.25), (-0.25, 0.25)):
        x, y, half = at[None] - np.float32(across), at[:, None] - np.float32(down), EXTENTS[size] / 2 * READ_SIDE
        share = coverage(shape, x, y, half)
        striped = stripes(y, half, BANDS[size]) * (fill == "striped")
        names.append((shape, size, fill))
        offsets.append((across, down))
        body.append((share * (1 - striped)).ravel())
        bars.append((share * striped).ravel())
    return _Templates(names, offsets, np.array(body), np.array(bars))


def _fit(rest: Floats, plane: Floats, spot: _Spot, mine: Mask) -> Thing | None:
    """The thing that explains the deviations from the ground around a spot with the least squared error; None for a stain."""
    templates, margin, moves = _templates(), _HALF + REACH, 2 * REACH + 1
    row, column = (spot.top + spot.bottom - 1) // 2, (spot.left + spot.right - 1) // 2
    padded = np.pad(rest * mine[..., None], ((margin, margin), (margin, margin), (0, 0)))
    part = padded[row : row + 2 * margin + 1, column : column + 2 * margin + 1]
    along = np.stack([part @ spot.body, part @ spot.bars]).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(along, (2 * _HALF + 1, 2 * _HALF + 1), axis=(1, 2)).reshape(2, moves**2, -1)
    body_cost = spot.body @ spot.body * (templates.body**2).sum(axis=1)
    bars_cost = spot.bars @ spot.bars * (templates.bars**2).sum(axis=1)
    both_cost = spot.body @ spot.bars * (templates.body * templates.bars).sum(axis=1)
    explained = 2 * (windows[0] @ templates.body.T + windows[1] @ templates.bars.T) - body_cost - bars_cost - 2 * both_cost
    move, number = np.unravel_index(explained.argmax(), explained.shape)
    if explained[move, number] < LEAST_EXPLAINED * float((rest[spot.mask] ** 2).sum()):
        return None
    down, across = divmod(int(move), moves)
    offset = templates.offsets[number]
    x, y = ((at + moved - REACH + away + 0.5) / READ_SIDE for at, moved, away in zip((column, row), (across, down), offset, strict=True))
    shape, size, fill = templates.names[number]
    return Thing(shape, tuple(COLOURS)[spot.colour], size, fill, min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0))


def _read_ground(picture: Floats, plane: Floats, away: Mask) -> ReadGround:
    """What kind of ground the pixels away from all things are."""
    if _roughness(picture - plane, away) >= ROUGH:
        return ReadGround("photo")
    across, down = plane[0, -1] - plane[0, 0], plane[-1, 0] - plane[0, 0]
    if max(np.linalg.norm(across), np.linalg.norm(down)) < STEEP:
        return ReadGround("plain", (_ground_colour(plane.mean(axis=(0, 1))),))
    middle = len(plane) // 2
    if np.linalg.norm(across) > np.linalg.norm(down):
        return ReadGround("graded", (_ground_colour(plane[middle, 0]), _ground_colour(plane[middle, -1])), "left to right")
    return ReadGround("graded", (_ground_colour(plane[0, middle]), _ground_colour(plane[-1, middle])), "top to bottom")


def _roughness(rest: Floats, where: Mask) -> float:
    """Deviation of luminance from the plane, in grey levels, without the noise of single pixels; none if there is nowhere to look."""
    from scipy import ndimage

    if not where.any():
        return 0.0
    share = ndimage.uniform_filter(where.astype(np.float64), 3)
    smooth = ndimage.uniform_filter((rest @ _LUMINANCE) * where, 3)
    return float(np.sqrt(((smooth[where] / share[where]) ** 2).mean()))


def _ground_colour(colour: Floats) -> str:
    return min(GROUNDS, key=lambda name: float(((colour - np.array(GROUNDS[name])) ** 2).sum()))
