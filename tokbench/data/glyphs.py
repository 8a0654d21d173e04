"""Letters without a font engine: four fonts, drawn once at 160 pixels an em, set in lines and scaled down.

What a font engine draws depends on its version; these pictures are the same bytes everywhere. They lie in ``glyphs/``.
"""

from __future__ import annotations

import io
import json
import math
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Literal

from PIL import Image, ImageChops

from tokbench.resizing import resized

Font = Literal["sans", "serif", "mono", "bold"]

FONTS: tuple[Font, ...] = ("sans", "serif", "mono", "bold")
"""Aileron Regular; DejaVu Serif, Sans Mono and Sans Bold Oblique."""

FIRST, LAST = " ", "~"
"""The characters there are: printable ASCII."""

EM, CELL_WIDTH, CELL_HEIGHT, ORIGIN, BASELINE = 160, 256, 216, 48, 160
"""In pixels of the stored pictures: the em, a cell, and where in it a character stands."""

LINE_HEIGHT = CELL_HEIGHT / EM
"""Height of a line, from the top of its capitals' room to the bottom of its descenders', in ems."""


def text_width(text: str, font: Font, px: int) -> int:
    """How wide a line is.

    Args:
        text: Printable ASCII.
        font: One of ``FONTS``.
        px: Pixels an em.

    Returns:
        Pixels, rounded up, without what a slanted letter leans out.

    Raises:
        ValueError: If a character is not printable ASCII.
    """
    return math.ceil(sum(_advances()[font][_number(character)] for character in text) * px / EM)


def draw_text(text: str, font: Font, px: int) -> Image.Image:
    """Draw a line.

    Args:
        text: Printable ASCII.
        font: One of ``FONTS``.
        px: Pixels an em, 4 to 80.

    Returns:
        Coverage, 8 bits: ``text_width`` plus ``side_room`` pixels on both sides wide, ``line_height`` high; the baseline is ``px``
        pixels from the top.

    Raises:
        ValueError: If a character is not printable ASCII, or the size is out of range.
    """
    if not 4 <= px <= EM // 2:
        raise ValueError(f"px must be 4 to {EM // 2}, got {px}")
    size = (text_width(text, font, px) + 2 * side_room(px), line_height(px))
    scale = EM / px
    canvas = Image.new("L", (math.ceil(size[0] * scale) + CELL_WIDTH, math.ceil(size[1] * scale)))
    at = round(side_room(px) * scale) - ORIGIN  # at least 0, as the room is at least 0.3 em and so the origin
    for character in text:
        number = _number(character)
        cell = _atlas(font).crop((number * CELL_WIDTH, 0, (number + 1) * CELL_WIDTH, CELL_HEIGHT))
        here = (at, 0, at + CELL_WIDTH, CELL_HEIGHT)
        canvas.paste(ImageChops.lighter(canvas.crop(here), cell), here)
        at += _advances()[font][number]
    return resized(canvas, size, Image.Resampling.BOX, (0.0, 0.0, size[0] * scale, size[1] * scale))


def side_room(px: int) -> int:
    """Pixels left free on both sides of a line: 0.3 em, as much as slanted letters lean out and more."""
    return math.ceil(0.3 * px)


def line_height(px: int) -> int:
    """Pixels a line is high."""
    return math.ceil(LINE_HEIGHT * px)


@cache
def font_bytes(font: Font) -> bytes:
    """The stored picture of a font, undecoded."""
    return (_folder() / f"{font}.png").read_bytes()


@cache
def _atlas(font: Font) -> Image.Image:
    with Image.open(io.BytesIO(font_bytes(font))) as picture:
        return picture.convert("L")


@cache
def _advances() -> dict[str, list[int]]:
    return json.loads((_folder() / "advances.json").read_text(encoding="utf-8"))


def _folder() -> Traversable:
    return resources.files("tokbench.data") / "glyphs"


def _number(character: str) -> int:
    if not FIRST <= character <= LAST:
        raise ValueError(f"{character!r} is not printable ASCII")
    return ord(character) - ord(FIRST)
