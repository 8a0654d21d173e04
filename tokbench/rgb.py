"""Decoded images of every mode to 8-bit RGB, in bands, so that the memory on the way does not grow with the image."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

BAND = 1 << 20
"""Pixels converted at once."""


def as_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to RGB.

    Args:
        image: Decoded, of any mode. Greys of 16 or more bits are 0..65535, float greys [0, 1] if none exceeds 1 and [0, 255]
            otherwise (NaN is black); what lies outside is clamped. Transparency is composited over white.

    Returns:
        An image of mode RGB and its own memory.
    """
    if image.mode == "RGB" and not image.has_transparency_data:
        return image.convert("RGB")
    scale = _float_scale(image) if image.mode == "F" else 1.0
    rgb = Image.new("RGB", image.size)
    for top, band in _bands(image):
        rgb.paste(_band_as_rgb(band, scale), (0, top))
    return rgb


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    rows = max(1, BAND // max(1, image.width))
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _float_scale(image: Image.Image) -> float:
    for _, band in _bands(image):
        values = np.asarray(band)
        if values.max(initial=0.0, where=np.isfinite(values)) > 1:
            return 1.0
    return 255.0


def _band_as_rgb(image: Image.Image, scale: float) -> Image.Image:
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.int64)
        grey = (levels.clip(0, 65535) * 255 + 32767) // 65535
        grey[levels == image.info.get("transparency", -1)] = 255
        image = Image.fromarray(grey.astype(np.uint8))
    elif image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        image = Image.fromarray((np.where(np.isnan(values), 0.0, values) * scale).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return image.convert("RGB")
