"""The only two pixel conversions (to_float, to_uint8) and the one reader that turns any image file into RGB."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from tokbench.image_files import (
    JPEG_START,
    PNG_SIGNATURE,
    UnreadableImage,
    jpeg_pixels,
    largest_icon,
    one_large_at_a_time,
    png_pixels,
    read_regular,
    tiff_errors,
)
from tokbench.rgb import as_rgb
from tokbench.tiff import checked_tiff

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, Float32, UInt8
    from torch import Tensor

Uint8Rule = Literal["round", "half up", "truncate"]

MAX_PIXELS = 100_000_000
"""Images above this many pixels are refused before they are decoded."""

MAX_FILE_BYTES = 256 << 20
"""Image files above this size are refused before they are read."""

MAX_DECODING_BYTES = 800 * 10**6
"""Memory that a file, what a decoder makes of it and its RGB may take together; images that would take more are refused."""


def to_float(images: UInt8[Tensor, "b 3 h w"]) -> Float32[Tensor, "b 3 h w"]:
    """Map bytes 0..255 to [-1, 1]: ``x / 127.5 - 1``, rounded once, as published loaders do in numpy.

    Args:
        images: RGB bytes.

    Returns:
        The same pixels as float32 on the same device.

    Raises:
        ValueError: If the input is not uint8 ``[B, 3, H, W]``.
    """
    import torch

    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"to_float takes uint8 [B, 3, H, W], got {images.dtype} {tuple(images.shape)}")
    from tokbench.tracing import traced

    levels = _levels.__wrapped__(images.device) if traced() else _levels(images.device)
    return levels.index_select(0, images.flatten().int()).view(images.shape)


@cache
def _levels(device: torch.device) -> Float32[Tensor, "256"]:
    """What each byte becomes, once for each device: a copy for every batch would hold up the work queued there."""
    import torch

    with torch.inference_mode(False):  # what is kept may meet gradients later
        return torch.arange(256, dtype=torch.float64).div_(127.5).sub_(1.0).to(torch.float32).to(device)


def to_uint8(images: Float[Tensor, "b 3 h w"], *, rule: Uint8Rule = "round") -> UInt8[Tensor, "b 3 h w"]:
    """Map [-1, 1] to bytes: clamp, scale, round. ``to_uint8(to_float(x)) == x`` for every byte.

    Args:
        images: RGB values; what lies outside [-1, 1] is clamped.
        rule: ``round`` (half to even), or for protocols that reproduce figures measured so ``half up`` (add a half, cut off) or
            ``truncate``. Truncation lowers 95 of the 256 grey levels by one even on untouched images.

    Returns:
        RGB bytes on the same device.

    Raises:
        ValueError: If the input is not a float ``[B, 3, H, W]`` or holds NaN, or there is no such rule.
    """
    import torch

    from tokbench.granted import require
    from tokbench.tracing import traced

    if not images.is_floating_point() or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"to_uint8 takes float [B, 3, H, W], got {images.dtype} {tuple(images.shape)}")
    if not traced():
        require(~torch.isnan(images).any(), lambda: ValueError("to_uint8 got NaN pixels"))
    if rule not in get_args(Uint8Rule):
        raise ValueError(f"rule is round, half up or truncate, got {rule!r}")
    if rule == "round":
        return images.float().clamp(-1, 1).add(1.0).mul_(127.5).round_().to(torch.uint8)
    if rule == "half up":
        return images.float().mul(127.5).add_(128.0).clamp_(0, 255).to(torch.uint8)
    return images.float().clamp(-1, 1).add(1.0).div_(2.0).mul_(255.0).to(torch.uint8)


def load_rgb(source: str | Path | bytes, *, shortest: int | None = None) -> Image.Image:
    """Read any image file as 8-bit RGB, upright.

    EXIF orientation is applied, and of an animation the first frame is taken. Grey, palette, CMYK, YCbCr and LAB are converted.
    Transparency is composited over white, and embedded colour profiles are ignored. Damaged metadata count as none and never cost the
    pixels. Greys of 16 or more bits are taken as 0..65535. Float greys are taken as [0, 1] if none exceeds 1 and as [0, 255] otherwise;
    NaN is black. What lies outside is clamped. Of 16-bit colours Pillow keeps the high byte.

    Memory is bounded. An image that takes more than ``MAX_DECODING_BYTES`` is refused by what its header says. Of those that take more
    than ``SMALL`` one is decoded at a time.

    Args:
        source: A path, or the bytes of a file.
        shortest: JPEGs are decoded at a half, a quarter or an eighth of their size, the smallest whose shortest side has so many pixels.
            The same files are refused. None decodes all pixels.

    Returns:
        A Pillow image in mode RGB.

    Raises:
        UnreadableImage: If the file is missing, no regular file, not an image, truncated, damaged as far as its format can tell, or too
            large.
    """
    try:
        data = source if isinstance(source, bytes) else read_regular(Path(source), MAX_FILE_BYTES)
        data = png_pixels(data) if data.startswith(PNG_SIGNATURE) else data
        try:
            return _decode(data, shortest)
        except UnreadableImage:
            raise
        except Exception:
            if not data.startswith(JPEG_START) or (bare := jpeg_pixels(data)) == data:
                raise
            return _decode(bare, shortest)  # some metadata stop Pillow from reading a whole JPEG
    except UnreadableImage:
        raise
    except UnidentifiedImageError as error:  # its text is the address of a buffer
        raise UnreadableImage("not an image of a known format, or cut off in its header") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"absurdly large ({error})") from error
    except MemoryError as error:
        raise UnreadableImage("decoding it takes more memory than there is") from error
    except Exception as error:  # Pillow plugins raise many kinds: OSError, SyntaxError, ValueError, struct.error, ...
        raise UnreadableImage.because(error) from error


def _decode(data: bytes, shortest: int | None) -> Image.Image:
    with _strict_pillow(), Image.open(io.BytesIO(data), formats=_readable_formats()) as image:
        if image.width * image.height > MAX_PIXELS:
            raise UnreadableImage(f"{image.width}x{image.height} pixels, more than {MAX_PIXELS}")
        needed = len(data) + image.width * image.height * PIXEL_BYTES.get(image.format or "", 8)
        if needed > MAX_DECODING_BYTES:
            raise UnreadableImage(
                f"{image.width}x{image.height} pixels of {image.format} take {needed / 1e6:.0f} MB to decode, "
                f"more than {MAX_DECODING_BYTES / 1e6:.0f}"
            )
        if image.format == "ICO" and largest_icon(data) > MAX_ICON:  # the size of a PNG in it is its own
            raise UnreadableImage(f"an icon of {largest_icon(data)} pixels, more than {MAX_ICON}")
        if image.format == "JPEG2000" and JPEG2000_END not in data:  # OpenJPEG may decode a cut one as flat grey
            raise UnreadableImage("truncated: no end of codestream")
        if shortest is not None:
            image.draft(None, (shortest, shortest))  # of JPEGs alone
        with one_large_at_a_time(needed):
            written = image.format == "TIFF" and image.info.get("compression", "raw") != "raw"
            with checked_tiff(image, data), tiff_errors() if written else nullcontext():
                image.load()
            rgb, orientation = as_rgb(image), _orientation(image)
            del image
            return rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb


PIXEL_BYTES = {"WEBP": 24, "AVIF": 16, "JPEG2000": 20}
"""Bytes a pixel that decoding takes at its highest, the RGB that is made of it included; 8 for all other formats."""

FORMATS = ("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP")
"""Formats that are read. Others of Pillow's are not: some, such as EPS, would start another program on the file."""


@cache
def _readable_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


MAX_ICON = 1 << 22
"""Pixels of an icon."""

JPEG2000_END = b"\xff\xd9"
"""Marker that ends a JPEG 2000 codestream and cannot occur inside its packets."""

_strict_lock = threading.Lock()
_strict_readers = 0
_truncated_allowed = False


@contextmanager
def _strict_pillow() -> Iterator[None]:
    """Refuse truncated files whatever the process-wide switch says, and put the switch back after the last reader."""
    global _strict_readers, _truncated_allowed
    with _strict_lock:
        if _strict_readers == 0:
            _truncated_allowed = ImageFile.LOAD_TRUNCATED_IMAGES
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        _strict_readers += 1
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
    finally:
        with _strict_lock:
            _strict_readers -= 1
            if _strict_readers == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = _truncated_allowed


_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # the pixels are intact; ImageOps.exif_transpose would refuse them
        return 1
