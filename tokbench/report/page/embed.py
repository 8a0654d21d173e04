"""What a page holds that is no text: pictures as data URIs, without loss, and values for its script as JSON."""

from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from markupsafe import Markup


def data_uri(pixels: np.ndarray) -> str:
    """Encode a picture as lossless WebP or PNG, whichever is smaller.

    Args:
        pixels: uint8, ``[H, W, 3]``, or ``[H, W]`` for grey.

    Raises:
        ValueError: If it is no picture.
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3) or not pixels.size:
        raise ValueError(f"a picture is uint8 [H, W, 3] or [H, W], got {pixels.dtype} of shape {pixels.shape}")
    image = Image.fromarray(pixels)
    written = [("png", _written(image, "PNG", optimize=True))]
    if max(image.size) <= 16383:  # the format's limit
        written.append(("webp", _written(image, "WEBP", lossless=True, quality=60, method=4)))
    kind, data = min(written, key=lambda item: len(item[1]))
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _written(image: Image.Image, kind: str, **options: int | bool) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def script_json(value: object) -> Markup:
    """JSON that is safe inside a script element: nothing in it can end the element or a line.

    Args:
        value: Plain values, all numbers finite.
    """
    from markupsafe import Markup

    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
