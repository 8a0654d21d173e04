"""From a scene to its pixels: every shape as the distance to its edge, which gives smooth edges without drawing larger."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tokbench.data.scenes.grounds import Pixels, paint_ground
from tokbench.data.scenes.scene import BANDS, COLOURS, STRIPE, Scene, Shape, Thing
from tokbench.errors import TokbenchError

SCENE_SIZES = (32, 64, 128, 256)
"""Sides in pixels at which scenes are drawn."""

ARM = 0.4
"""Width of an arm of a cross, as a share of the cross."""

Floats = np.ndarray[Any, np.dtype[np.float32]]


def check_size(size: int) -> None:
    """Refuse sizes at which scenes are not drawn.

    Raises:
        TokbenchError: If the size is none of ``SCENE_SIZES``.
    """
    if size not in SCENE_SIZES:
        raise TokbenchError(f"scenes come in sizes {', '.join(map(str, SCENE_SIZES))} px, got {size}; choose one with --size")


def draw(scene: Scene, size: int) -> Pixels:
    """Draw a scene.

    Args:
        scene: What to draw.
        size: Side in pixels, one of ``SCENE_SIZES``.

    Returns:
        Bytes ``[size, size, 3]``, red, green and blue.

    Raises:
        TokbenchError: If scenes are not drawn at this size, or the ground is a photo that is not there.
    """
    check_size(size)
    pixels = paint_ground(scene.ground, size)
    for thing in scene.things:
        _draw_thing(pixels, thing, size)
    return pixels


def coverage(shape: Shape, x: Floats, y: Floats, half: float) -> Floats:
    """Share of each pixel that a shape covers.

    Args:
        shape: The shape; it fills the square from ``-half`` to ``half``, but for a cross and a triangle.
        x: Middles of pixels from the middle of the shape to the right, in pixels.
        y: The same downwards; both are broadcast.
        half: Half the side of its square, in pixels.

    Returns:
        0 to 1, of the shape that ``x`` and ``y`` are broadcast to.
    """
    if shape == "square":
        return _inside(x, half) * _inside(y, half)
    if shape == "cross":
        arm = ARM * half
        across, down = _inside(x, half) * _inside(y, arm), _inside(x, arm) * _inside(y, half)
        return across + down - _inside(x, arm) * _inside(y, arm)
    if shape == "circle":
        return np.clip(np.float32(half + 0.5) - np.sqrt(x * x + y * y), 0, 1)  # unlike hypot, the same to the last bit everywhere
    edge = np.maximum(y - half, (2 * np.abs(x) - (y + half)) / math.sqrt(5))
    return np.clip(np.float32(0.5) - edge, 0, 1)


def stripes(y: Floats, half: float, bands: int) -> Floats:
    """Share of each pixel that lies in a stripe: every second of the bands that a thing is cut into from top to bottom.

    Args:
        y: Middles of pixels from the middle of the thing downwards, in pixels.
        half: Half the height of the thing, in pixels.
        bands: How many bands there are.

    Returns:
        0 to 1, in the shape of ``y``.
    """
    band = 2 * half / bands
    starts = np.arange(1, bands, 2, dtype=np.float32) * band - half
    overlap = np.minimum(y[..., None] + 0.5, starts + band) - np.maximum(y[..., None] - 0.5, starts)
    return np.clip(overlap, 0, 1).sum(axis=-1, dtype=np.float32)


def _inside(at: Floats, half: float) -> Floats:
    """Share of each pixel that lies between ``-half`` and ``half`` along one axis."""
    return np.clip(np.float32(half + 0.5) - np.abs(at), 0, 1)


def _draw_thing(pixels: Pixels, thing: Thing, size: int) -> None:
    half = thing.extent / 2 * size
    left, top = (math.floor(at * size - half - 1) for at in (thing.x, thing.y))
    right, bottom = (math.ceil(at * size + half + 1) for at in (thing.x, thing.y))
    columns, rows = slice(max(0, left), min(size, right)), slice(max(0, top), min(size, bottom))
    x = np.arange(columns.start, columns.stop, dtype=np.float32)[None] + np.float32(0.5 - thing.x * size)
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + np.float32(0.5 - thing.y * size)
    colour = np.array(COLOURS[thing.colour], dtype=np.float32)
    if thing.fill == "striped":
        colour = colour + stripes(y, half, BANDS[thing.size])[..., None] * (np.array(STRIPE, dtype=np.float32) - colour)
    part = pixels[rows, columns]
    share = coverage(thing.shape, x, y, half)[..., None]
    part[:] = np.rint(part + share * (colour - part))
