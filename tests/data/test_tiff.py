"""TIFF files of every kind, written by hand with known pixels: read right, or refused in words."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tokbench.images import UnreadableImage, load_rgb

HEIGHT, WIDTH = 6, 8
DRAW = np.random.default_rng(7)
RGB = DRAW.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
GREY = DRAW.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
BITS = DRAW.integers(0, 2, (HEIGHT, WIDTH), dtype=np.uint8)
DEEP = GREY.astype(np.uint16) * 257
PACKBITS, DEFLATE = 32773, 8
WHITE_IS_ZERO, BLACK_IS_ZERO, IS_RGB, PALETTE, CMYK = 0, 1, 2, 3, 5

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Kind:
    """One kind of file, and what it shows.

    Args:
        strips: Uncompressed bytes of each strip, tile or plane.
        shown: RGB pixels; None if it must be refused, whatever a reader might make of it.
        tags: Tags beside sizes, offsets and compression.
        compression: TIFF's number.
        order: Byte order.
    """

    strips: Sequence[bytes]
    shown: Pixels | None
    tags: dict[int, Any]
    compression: int = 1
    order: str = "<"


def tiff(kind: Kind) -> bytes:
    """Write the file: header, strips, then one directory of LONG and SHORT values."""
    out = bytearray((b"II" if kind.order == "<" else b"MM") + struct.pack(kind.order + "HI", 42, 0))
    offsets, counts = [], []
    for strip in kind.strips:
        packed = zlib.compress(strip) if kind.compression == DEFLATE else packbits(strip) if kind.compression == PACKBITS else strip
        offsets.append(len(out))
        counts.append(len(packed))
        out += packed + b"\0" * (len(packed) % 2)
    tiled = 322 in kind.tags
    places = {324: offsets, 325: counts} if tiled else {273: offsets, 279: counts}
    tags = {256: WIDTH, 257: HEIGHT, 259: kind.compression, **({} if tiled else {278: HEIGHT}), **places, **kind.tags}
    directory = b""
    for tag, value in sorted(tags.items()):
        values = value if isinstance(value, list) else [value]
        long = tag in (273, 279, 324, 325)
        data = struct.pack(f"{kind.order}{len(values)}{'I' if long else 'H'}", *values)
        if len(data) > 4:
            place = struct.pack(kind.order + "I", len(out))
            out += data + b"\0" * (len(data) % 2)
            data = place
        directory += struct.pack(kind.order + "HHI", tag, 4 if long else 3, len(values)) + data.ljust(4, b"\0")
    struct.pack_into(kind.order + "I", out, 4, len(out))
    return bytes(out) + struct.pack(kind.order + "H", len(tags)) + directory + bytes(4)


def packbits(data: bytes) -> bytes:
    """Literal runs of up to 128 bytes."""
    return b"".join(bytes([len(part) - 1]) + part for part in (data[at : at + 128] for at in range(0, len(data), 128)))


def grey(levels: NDArray[Any]) -> Pixels:
    return np.repeat(np.asarray(levels)[..., None], 3, axis=-1).astype(np.uint8)


def rgb_tags(**extra: Any) -> dict[int, Any]:
    return {258: [8, 8, 8], 262: IS_RGB, 277: 3, **{int(tag[1:]): value for tag, value in extra.items()}}


def grey_tags(bits: int, *, sample_format: int = 1, photometric: int = BLACK_IS_ZERO) -> dict[int, Any]:
    return {258: bits, 262: photometric, 277: 1, 339: sample_format}


def tiles(pixels: Pixels, side: int = 16) -> list[bytes]:
    """One tile that is larger than the picture, padded."""
    padded = np.zeros((side, side, *pixels.shape[2:]), pixels.dtype)
    padded[:HEIGHT, :WIDTH] = pixels
    return [padded.tobytes()]


def laid_over_white(pixels: Pixels, alpha: Pixels) -> Pixels:
    share = alpha[..., None] / 255
    return np.round(pixels * share + 255 * (1 - share)).astype(np.uint8)


COLOURS = DRAW.integers(0, 256, (256, 3), dtype=np.uint8)
ALPHA = DRAW.choice(np.array([0, 255], np.uint8), (HEIGHT, WIDTH))  # both ends: no rounding to agree on
CMYK_OF = np.concatenate([255 - RGB, np.zeros((HEIGHT, WIDTH, 1), np.uint8)], axis=2)

KINDS = {
    "rgb": Kind([RGB.tobytes()], RGB, rgb_tags()),
    "rgb big-endian": Kind([RGB.tobytes()], RGB, rgb_tags(), order=">"),
    "rgb packbits": Kind([RGB.tobytes()], RGB, rgb_tags(), PACKBITS),
    "rgb deflate": Kind([RGB.tobytes()], RGB, rgb_tags(), DEFLATE),
    "rgb deflate, two strips": Kind([RGB[:4].tobytes(), RGB[4:].tobytes()], RGB, rgb_tags(_278=4), DEFLATE),
    "rgb planes": Kind([RGB[..., c].tobytes() for c in range(3)], RGB, rgb_tags(_284=2)),
    "rgb planes, deflate": Kind([RGB[..., c].tobytes() for c in range(3)], RGB, rgb_tags(_284=2), DEFLATE),
    "rgb tile": Kind(tiles(RGB), RGB, rgb_tags(_322=16, _323=16)),
    "rgb tile, deflate": Kind(tiles(RGB), RGB, rgb_tags(_322=16, _323=16), DEFLATE),
    "rgb tile planes": Kind([tiles(RGB[..., c])[0] for c in range(3)], RGB, rgb_tags(_322=16, _323=16, _284=2), DEFLATE),
    "rgb deflate, predictor": Kind([np.concatenate([RGB[:, :1], np.diff(RGB, axis=1)], axis=1).tobytes()], RGB, rgb_tags(_317=2), DEFLATE),
    "rgb and unassociated alpha": Kind(
        [np.dstack([RGB, ALPHA]).tobytes()], laid_over_white(RGB, ALPHA), {258: [8] * 4, 262: IS_RGB, 277: 4, 338: 2}
    ),
    "rgb and associated alpha": Kind(
        [np.dstack([RGB * (ALPHA[..., None] > 0), ALPHA]).tobytes()],
        laid_over_white(RGB, ALPHA),
        {258: [8] * 4, 262: IS_RGB, 277: 4, 338: 1},
    ),
    "rgb and a channel of no meaning": Kind([np.dstack([RGB, ALPHA]).tobytes()], RGB, {258: [8] * 4, 262: IS_RGB, 277: 4, 338: 0}),
    "rgb of 16 bits": Kind([(RGB.astype("<u2") * 257).tobytes()], RGB, rgb_tags(_258=[16] * 3)),
    "rgb of 16 bits, big-endian": Kind([(RGB.astype(">u2") * 257).tobytes()], RGB, rgb_tags(_258=[16] * 3), order=">"),
    "rgb of 16 bits, deflate": Kind([(RGB.astype("<u2") * 257).tobytes()], RGB, rgb_tags(_258=[16] * 3), DEFLATE),
    "rgb of 16 bits, planes": Kind(
        [(RGB[..., c].astype("<u2") * 257).tobytes() for c in range(3)], RGB, rgb_tags(_258=[16] * 3, _284=2), DEFLATE
    ),
    "rgb of floats": Kind([(RGB / 255).astype("<f4").tobytes()], None, rgb_tags(_258=[32] * 3, _339=[3] * 3)),
    "cmyk": Kind([CMYK_OF.tobytes()], RGB, {258: [8] * 4, 262: CMYK, 277: 4}),
    "cmyk planes": Kind([CMYK_OF[..., c].tobytes() for c in range(4)], RGB, {258: [8] * 4, 262: CMYK, 277: 4, 284: 2}, DEFLATE),
    "palette": Kind([GREY.tobytes()], COLOURS[GREY], {258: 8, 262: PALETTE, 277: 1, 320: [int(v) * 257 for v in COLOURS.T.flatten()]}),
    "grey": Kind([GREY.tobytes()], grey(GREY), grey_tags(8)),
    "grey, white is zero": Kind([GREY.tobytes()], grey(255 - GREY), grey_tags(8, photometric=WHITE_IS_ZERO)),
    "grey tile": Kind(tiles(GREY), grey(GREY), {**grey_tags(8), 322: 16, 323: 16}),
    "grey and alpha": Kind([np.dstack([GREY, ALPHA]).tobytes()], laid_over_white(grey(GREY), ALPHA), {258: [8, 8], 262: 1, 277: 2, 338: 2}),
    "1 bit": Kind([np.packbits(BITS, axis=1).tobytes()], grey(BITS * 255), grey_tags(1)),
    "1 bit, white is zero": Kind([np.packbits(BITS, axis=1).tobytes()], grey(255 - BITS * 255), grey_tags(1, photometric=WHITE_IS_ZERO)),
    "4 bits": Kind([((GREY[:, ::2] >> 4 << 4) | (GREY[:, 1::2] >> 4)).tobytes()], grey((GREY >> 4) * 17), grey_tags(4)),
    "12 bits": Kind([b"\xff" * (HEIGHT * WIDTH * 3 // 2)], None, grey_tags(12)),
    "16 bits": Kind([DEEP.astype("<u2").tobytes()], grey(GREY), grey_tags(16)),
    "16 bits, big-endian": Kind([DEEP.astype(">u2").tobytes()], grey(GREY), grey_tags(16), order=">"),
    "16 bits, big-endian, deflate": Kind([DEEP.astype(">u2").tobytes()], grey(GREY), grey_tags(16), DEFLATE, ">"),
    "16 bits, white is zero": Kind([DEEP.astype("<u2").tobytes()], None, grey_tags(16, photometric=WHITE_IS_ZERO)),
    "16 bits with a sign": Kind([(DEEP // 2).astype("<i2").tobytes()], None, grey_tags(16, sample_format=2)),
    "8 bits with a sign": Kind([(GREY // 2).astype("<i1").tobytes()], None, grey_tags(8, sample_format=2)),
    "32 bits": Kind([DEEP.astype("<u4").tobytes()], grey(GREY), grey_tags(32)),
    "32 bits above 2**31": Kind([np.full((HEIGHT, WIDTH), 2**31 + 5, "<u4").tobytes()], None, grey_tags(32)),
    "32 bits with a sign": Kind([DEEP.astype("<i4").tobytes()], grey(GREY), grey_tags(32, sample_format=2)),
    "floats": Kind([(GREY / 255).astype("<f4").tobytes()], grey(GREY), grey_tags(32, sample_format=3)),
    "floats, big-endian": Kind([(GREY / 255).astype(">f4").tobytes()], grey(GREY), grey_tags(32, sample_format=3), order=">"),
    "floats, white is zero": Kind([(GREY / 255).astype("<f4").tobytes()], None, grey_tags(32, sample_format=3, photometric=WHITE_IS_ZERO)),
    "doubles": Kind([(GREY / 255).astype("<f8").tobytes()], None, grey_tags(64, sample_format=3)),
    "halves": Kind([(GREY / 255).astype("<f2").tobytes()], None, grey_tags(16, sample_format=3)),
}


CHECKED = [name for name, kind in KINDS.items() if kind.compression == DEFLATE]
FLIPS = 40


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_right_or_refused_in_words(name: str) -> None:
    kind = KINDS[name]
    if kind.shown is None:
        with pytest.raises(UnreadableImage, match=r"which are not read; store|not an image of a known format"):
            load_rgb(tiff(kind))
    else:
        assert np.array_equal(np.asarray(load_rgb(tiff(kind))), kind.shown)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.shown is not None])
@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_short_strip_is_refused(name: str, cut: int) -> None:
    """The decoder would fill it with what follows it in the file."""
    kind = KINDS[name]
    short = replace(kind, strips=[*kind.strips[:-1], kind.strips[-1][: -min(cut, len(kind.strips[-1]))]])
    with pytest.raises(UnreadableImage):
        load_rgb(tiff(short))


@pytest.mark.parametrize("name", [name for name in KINDS if "two strips" in name or "planes" in name])
def test_a_missing_strip_is_refused(name: str) -> None:
    with pytest.raises(UnreadableImage, match=r"truncated: \d of \d strips or tiles"):
        load_rgb(tiff(replace(KINDS[name], strips=KINDS[name].strips[:-1])))


@pytest.mark.parametrize("name", CHECKED)
def test_no_flipped_bit_of_what_has_a_checksum_shows(name: str) -> None:
    """The decoder does not read the checksum of every tile."""
    kind = KINDS[name]
    data = tiff(kind)
    end = len(b"".join(zlib.compress(strip) for strip in kind.strips))
    draw = np.random.default_rng(0)
    for _ in range(FLIPS):
        damaged = bytearray(data)
        damaged[draw.integers(8, 8 + end)] ^= 1 << int(draw.integers(8))
        try:
            found = np.asarray(load_rgb(bytes(damaged)))
        except UnreadableImage:
            continue
        assert np.array_equal(found, kind.shown)


def test_a_bomb_in_a_strip_is_refused_before_it_is_inflated() -> None:
    with pytest.raises(UnreadableImage, match="holds more than its size"):
        load_rgb(tiff(Kind([bytes(1 << 27)], RGB, rgb_tags(), DEFLATE)))
