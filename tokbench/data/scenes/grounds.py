"""What scenes stand on: one colour, a gradient between two, or a muted cut of an embedded photo."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Any

import numpy as np
from PIL import Image

from tokbench.data.photos import Photo, photo_rows
from tokbench.data.scenes.scene import GROUNDS, Ground, Thing
from tokbench.errors import TokbenchError
from tokbench.images import load_rgb
from tokbench.resizing import resized

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

ZOOM = 1.5
"""Short side of a photo in sides of the picture; the picture is a window of it."""

DARKEST, BRIGHTEST, CHROMA = 104, 152, 0.2
"""Luminance that black and white of a photo are moved to, and what is left of its colour: things must stand out on any photo."""

MIN_TEXTURE, TEXTURE_SIZE = 5.0, 16
"""Least texture of a photo that is seen between things, in grey levels, and the side at which it is measured."""

RED, GREEN, BLUE = 299, 587, 114
"""Thousandths of luminance. Source: ITU-R BT.601."""


def paint_ground(ground: Ground, size: int) -> Pixels:
    """Paint a ground.

    Args:
        ground: What to paint.
        size: Side in pixels.

    Returns:
        Bytes ``[size, size, 3]`` of its own.

    Raises:
        TokbenchError: If its photo is none of the embedded ones.
    """
    if ground.kind == "photo":
        return cut(ground.photo, size, ground.window).copy()
    pixels = np.empty((size, size, 3), dtype=np.uint8)
    pixels[:] = (
        _gradient(ground.colours, size, ground.direction == "top to bottom") if ground.kind == "graded" else GROUNDS[ground.colours[0]]
    )
    return pixels


def cut(photo: str, size: int, window: tuple[float, float]) -> Pixels:
    """Cut a square out of a muted photo.

    Args:
        photo: Id of an embedded photo.
        size: Side in pixels.
        window: Left and top, 0 to 1 of the room there is.

    Returns:
        Bytes ``[size, size, 3]``, a view that must not be written to.

    Raises:
        TokbenchError: If there is no such photo.
    """
    whole = _muted(photo, size)
    left, top = (int(part * (length - size)) for part, length in zip(window, whole.shape[1::-1], strict=True))
    return whole[top : top + size, left : left + size]


def texture(photo: str, window: tuple[float, float], things: Iterable[Thing] = ()) -> float:
    """How far a cut is from a gradient: deviation of luminance from the plane through it.

    Args:
        photo: Id of an embedded photo.
        window: Left and top, 0 to 1 of the room there is.
        things: What hides parts of it.

    Returns:
        Root of the mean square, in grey levels: of the flattest quarter or of what things leave to be seen, whichever is less.
    """
    seen = np.ones((TEXTURE_SIZE, TEXTURE_SIZE), dtype=bool)
    for thing in things:
        rows, columns = (
            slice(max(0, int((at - thing.extent / 2) * TEXTURE_SIZE) - 1), int((at + thing.extent / 2) * TEXTURE_SIZE) + 2)
            for at in (thing.y, thing.x)
        )
        seen[rows, columns] = False
    grey = _luminance(cut(photo, TEXTURE_SIZE, window).astype(np.float64)) / 1000
    half = TEXTURE_SIZE // 2
    quarters = (_from_plane(grey, np.ones_like(seen)) ** 2).reshape(2, half, 2, half).mean(axis=(1, 3))
    left = (_from_plane(grey, seen)[seen] ** 2).mean() if seen.any() else 0.0
    return float(np.sqrt(min(quarters.min(), left)))


def _from_plane(grey: np.ndarray[Any, Any], where: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What is left of luminance without the plane through some of its pixels."""
    basis = _plane_basis()
    weights, *_ = np.linalg.lstsq(basis[where], grey[where], rcond=None)
    return grey - basis @ weights


@cache
def _plane_basis() -> np.ndarray[Any, np.dtype[np.float64]]:
    at = (np.arange(TEXTURE_SIZE) + 0.5) / TEXTURE_SIZE - 0.5
    return np.stack([np.ones((TEXTURE_SIZE, TEXTURE_SIZE)), *np.meshgrid(at, at)], axis=2)


@lru_cache(maxsize=64)
def _gradient(colours: tuple[str, ...], size: int, down: bool) -> Pixels:
    """The bytes of a gradient, to be broadcast over rows or columns."""
    share = ((np.arange(size) + 0.5) / size)[:, None]
    first, second = (np.array(GROUNDS[colour], dtype=np.float64) for colour in colours)
    line = np.rint(first + share * (second - first)).astype(np.uint8)
    return line[:, None] if down else line[None]


@lru_cache(maxsize=512)
def _muted(photo: str, size: int) -> Pixels:
    """A whole photo with a short side of ``ZOOM`` sides, muted; kept, because scenes take many cuts of it."""
    picture = load_rgb(_photo(photo).read_bytes())
    scale = ZOOM * size / min(picture.size)
    width, height = (max(size, round(length * scale)) for length in picture.size)
    pixels = np.asarray(resized(picture, (width, height), Image.Resampling.LANCZOS), dtype=np.float64)
    grey = _luminance(pixels)[..., None] / 1000
    muted = DARKEST + grey * ((BRIGHTEST - DARKEST) / 255) + CHROMA * (pixels - grey)
    return np.rint(muted).clip(0, 255).astype(np.uint8)


def _luminance(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Thousandths of luminance, without rounding that depends on a library of linear algebra."""
    return RED * pixels[..., 0] + GREEN * pixels[..., 1] + BLUE * pixels[..., 2]


def _photo(name: str) -> Photo:
    for photo in (*photo_rows("train"), *photo_rows("test")):
        if photo.id == name:
            return photo
    raise TokbenchError(f"there is no embedded photo {name}; take one of tokbench/data/photos/ATTRIBUTION.csv")
