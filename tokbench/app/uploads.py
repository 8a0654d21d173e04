"""Uploaded files as pictures."""

from __future__ import annotations

import numpy as np

from tokbench.bench.fitting import fit
from tokbench.errors import TokbenchError
from tokbench.image_size import Size
from tokbench.images import UnreadableImage, load_rgb
from tokbench.records.protocol import get_protocol


def read_upload(upload: bytes, size: Size) -> np.ndarray:
    """Read an uploaded file and cut its centre to size.

    Args:
        upload: Bytes of an image file.
        size: Side in pixels, or height and width.

    Returns:
        uint8 ``[height, width, 3]``.

    Raises:
        TokbenchError: If it is no image that can be read.
    """
    try:
        return fit(load_rgb(upload), get_protocol(changes={"size": size})).copy()
    except UnreadableImage as error:
        raise TokbenchError(f"this file is not a readable image ({error}); choose another one") from error
