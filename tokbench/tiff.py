"""What the TIFF decoder takes for granted, checked: that its numbers are read as what they are, and that every strip or tile is whole."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any

from PIL import Image

BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, CHANNELS, PLANES, SAMPLE_FORMAT = 258, 259, 262, 266, 277, 284, 339
STRIP_ROWS, STRIP_OFFSETS, STRIP_BYTES = 278, 273, 279
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 322, 323, 324, 325
"""Numbers of tags, by TIFF 6.0."""

RAW, DEFLATE = (1,), (8, 32946)
WHITE_IS_ZERO, YCBCR = 0, 6
UNSIGNED, SIGNED = 1, 2

PIECE = 1 << 16
"""Compressed bytes that are checked at once; of what they hold at most 16 times as many."""


@contextmanager
def checked_tiff(image: Image.Image, data: bytes) -> Iterator[None]:
    """Check a TIFF image while the block decodes it; images of other formats pass.

    Args:
        image: As opened, not yet decoded.
        data: Its file.

    Raises:
        ValueError: If its numbers are of a kind that would be read as others, or a strip or tile is cut or fails its checksum.
    """
    if image.format != "TIFF":
        yield
        return
    tags: Any = image.tag_v2  # type: ignore[attr-defined]  # of Pillow's TIFF images
    bits, sample_format = max(_all(tags, BITS, 1)), max(_all(tags, SAMPLE_FORMAT, UNSIGNED))
    if sample_format == SIGNED and bits < 32:
        raise ValueError(f"TIFF of signed numbers of {bits} bits, which are not read; store them unsigned")
    if bits > 8 and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        raise ValueError(f"TIFF of {bits} bits where zero is white, which are not read; store them with black as zero")
    if 8 < bits < 16:
        raise ValueError(f"TIFF of {bits} bits, which are not read; store 8 or 16")
    _check_segments(image, tags, data, bits)
    yield
    if image.mode == "I" and sample_format == UNSIGNED and image.getextrema()[0] < 0:  # type: ignore[operator]  # of one channel
        raise ValueError("TIFF of numbers above 2147483647, which are not read; store 16 bits")


def _check_segments(image: Image.Image, tags: Any, data: bytes, bits: int) -> None:
    """Compare every strip or tile with the size it must have, and with its checksum where it has one.

    The decoder fills a short one with what follows it in the file, and may not read the checksum of a tile.
    """
    compression, channels = tags.get(COMPRESSION, 1), tags.get(CHANNELS, 1)
    planes, depth = (channels, 1) if tags.get(PLANES, 1) == 2 else (1, channels)
    width, height = tags[256], tags[257]  # before Pillow turns it upright
    if TILE_OFFSETS in tags:
        across, rows = tags[TILE_WIDTH], tags[TILE_HEIGHT]
        last, count = rows, ceil(width / across) * ceil(height / rows)
        places, sizes = _all(tags, TILE_OFFSETS, 0), _all(tags, TILE_BYTES, None)
    else:
        across, rows = width, min(tags.get(STRIP_ROWS, height), height)
        count = ceil(height / rows)
        last = height - rows * (count - 1)
        places, sizes = _all(tags, STRIP_OFFSETS, 0), _all(tags, STRIP_BYTES, None)
    if compression not in (*RAW, *DEFLATE) or sizes == (None,) or tags.get(PHOTOMETRIC) == YCBCR or tags.get(FILL_ORDER, 1) != 1:
        return  # of other compressions the decoder reads all, and says what is wrong
    if len(places) < count * planes or len(sizes) < count * planes:
        raise ValueError(f"truncated: {min(len(places), len(sizes))} of {count * planes} strips or tiles")
    line = ceil(across * bits * depth / 8)
    for number in range(count * planes):
        at, size = places[number], sizes[number]
        needed = line * (last if number % count == count - 1 else rows)
        part = memoryview(data)[at : at + size]
        found = len(part) if compression in RAW else _inflated(part, line * rows)
        if len(part) < size or found < needed:
            raise ValueError(f"truncated: strip or tile {number} holds {found} of {needed} bytes")


def _inflated(part: memoryview, limit: int) -> int:
    """Bytes that a deflated part comes to, counted to just above the limit; its checksum is compared at its end."""
    inflate, size = zlib.decompressobj(), 0
    for at in range(0, len(part), PIECE):
        piece: bytes | memoryview = part[at : at + PIECE]
        while len(piece):
            size += len(inflate.decompress(piece, 16 * PIECE))
            piece = inflate.unconsumed_tail
            if size > limit:
                raise ValueError("damaged: a strip or tile holds more than its size")
        if inflate.eof:
            return size
    raise ValueError("truncated: the end of a strip or tile is missing")


def _all(tags: Any, tag: int, default: Any) -> tuple[Any, ...]:
    value = tags.get(tag, default)
    return value if isinstance(value, tuple) else (value,)
