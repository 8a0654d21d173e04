"""A picture that puts originals, reconstructions and error maps side by side, labelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from tokbench.bench.reconstruct import GridRow

ERROR_GAIN = 4
"""Error maps show the absolute difference, averaged over channels, this many times enlarged."""

SCALE = f"error maps: grey is 255 - {ERROR_GAIN} x d, at least 0; d is the absolute difference from the original (0 to 255), averaged over R, G and B"
"""What their grey values mean."""

GAP, TITLE, CAPTION, LINE = 10, 26, 20, 16
"""Pixels between pictures, and heights of the line of names, of what stands below a picture, and of a line below everything."""

BACKGROUND, INK, FAINT = (255, 255, 255), (24, 24, 24), (110, 110, 110)


def grid_size(rows: int, columns: int, *, tile: int = 192, footer: Sequence[str] = ()) -> tuple[int, int]:
    """Say how large the picture is before it is drawn.

    Args:
        rows: How many images.
        columns: How many tokenizers.
        tile: Side of a picture in the grid.
        footer: Lines below everything.

    Returns:
        Height and width in pixels.
    """
    width = GAP + (1 + columns) * (tile + GAP)
    return TITLE + GAP + rows * _row_height(tile) + LINE * len(_below(footer, width)) + 2 * GAP, width


def draw_grid(rows: Sequence[GridRow], columns: Sequence[str], *, tile: int = 192, footer: Sequence[str] = ()) -> Image.Image:
    """Draw the picture, with a line on what the error maps' grey values mean.

    Args:
        rows: At least one image.
        columns: Names of the tokenizers.
        tile: Side of a picture in the grid; small images are enlarged pixel by pixel.
        footer: Lines below everything (attribution).

    Returns:
        An RGB image.
    """
    height, width = grid_size(len(rows), len(columns), tile=tile, footer=footer)
    heading, small = ImageFont.load_default(size=15), _small()
    canvas = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    for i, name in enumerate(("original", *columns)):
        draw.text((GAP + i * (tile + GAP), GAP), _shortened(name, heading, tile), font=heading, fill=INK)
    top = TITLE + GAP
    for row in rows:
        canvas.paste(_tile(row.original, tile), (GAP, top))
        draw.text((GAP, top + tile + 3), _shortened(row.name, small, tile), font=small, fill=INK)
        draw.text((GAP, top + tile + CAPTION + 3), _shortened("error maps", small, tile), font=small, fill=FAINT)
        for i, cell in enumerate(row.cells, start=1):
            left = GAP + i * (tile + GAP)
            canvas.paste(_tile(cell.pixels, tile), (left, top))
            draw.text((left, top + tile + 3), cell.caption, font=small, fill=INK)
            canvas.paste(_tile(error_map(row.original, cell.pixels), tile), (left, top + tile + CAPTION))
        top += _row_height(tile)
    for line in _below(footer, width):
        draw.text((GAP, top), line, font=small, fill=FAINT)
        top += LINE
    return canvas


def error_map(original: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """Grey picture of the absolute difference, enlarged ``ERROR_GAIN`` times, white where there is none."""
    difference = np.abs(original.astype(np.float32) - reconstruction.astype(np.float32)).mean(axis=2)
    grey = 255 - np.clip(difference * ERROR_GAIN, 0, 255).round().astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _row_height(tile: int) -> int:
    return tile + CAPTION + tile + 2 * GAP


def _small() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=12)


def _below(footer: Sequence[str], width: int) -> list[str]:
    """Lines below everything, none longer than the picture is wide."""
    return [line for text in (SCALE, *footer) for line in _wrapped(text, _small(), width - 2 * GAP)]


def _tile(pixels: np.ndarray, tile: int) -> Image.Image:
    image = Image.fromarray(pixels)
    scale = tile / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    resized = image.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS)
    if resized.size == (tile, tile):
        return resized
    framed = Image.new("RGB", (tile, tile), BACKGROUND)
    framed.paste(resized, ((tile - resized.width) // 2, (tile - resized.height) // 2))
    return framed


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Lines of whole words; a word that is too long for a line goes on in the next."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
            continue
        lines.append("")
        for character in word:
            if lines[-1] and font.getlength(lines[-1] + character) > width:
                lines.append("")
            lines[-1] += character
    return lines


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
