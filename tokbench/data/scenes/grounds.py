"""What scenes stand on: one colour, a gradient between two, or a muted cut of an embedded photo."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from tokbench.data.photos import Photo, photo_rows
from tokbench.data.scenes.scene import GROUNDS, Ground
from tokbench.errors import TokbenchError
from tokbench.images import load_rgb

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

ZOOM = 1.5
"""Short side of a photo in sides of the picture; the picture is a window of it."""

DARKEST, BRIGHTEST, CHROMA = 104, 152, 0.2
"""Luminance that black and white of a photo are moved to, and what is left of its colour: things must stand out on any photo."""

MIN_TEXTURE, TEXTURE_SIZE = 5.5, 32
"""Least texture of a cut that scenes take, in grey levels, and the side at which it is measured."""

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


def texture(photo: str, window: tuple[float, float]) -> float:
    """How far a cut is from a gradient: deviation of luminance from the plane through it, in its flattest quarter.

    Args:
        photo: Id of an embedded photo.
        window: Left and top, 0 to 1 of the room there is.

    Returns:
        Root of the mean square, in grey levels.
    """
    grey = _luminance(cut(photo, TEXTURE_SIZE, window).astype(np.float64)) / 1000
    at = np.arange(TEXTURE_SIZE) - (TEXTURE_SIZE - 1) / 2
    rest = grey - grey.mean()
    slopes = (rest * at).sum(), (rest * at[:, None]).sum()
    rest -= (slopes[0] * at + slopes[1] * at[:, None]) / (TEXTURE_SIZE * (at**2).sum())
    half = TEXTURE_SIZE // 2
    return float(np.sqrt((rest**2).reshape(2, half, 2, half).mean(axis=(1, 3)).min()))


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
    pixels = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS), dtype=np.float64)
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
