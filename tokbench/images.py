"""The only two pixel conversions (to_float, to_uint8) and the one reader that turns any image file into RGB."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from tokbench.tiff import checked_tiff

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, UInt8
    from torch import Tensor

Uint8Rule = Literal["round", "truncate"]

MAX_PIXELS = 178_956_970
"""Images above this many pixels are refused before they are decoded. It is twice Pillow's default ``MAX_IMAGE_PIXELS``, where
Pillow itself refuses, so the limit is the same when a program has switched Pillow's off."""


class UnreadableImage(ValueError):
    """The bytes are not an image that can be read; the message says why."""

    @classmethod
    def because(cls, error: Exception) -> UnreadableImage:
        """Word another error as the reason, without the path an operating system error carries.

        Args:
            error: What went wrong.

        Returns:
            The error, to be raised by the caller.
        """
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        return cls(" ".join(reason.split()))


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
    levels = torch.arange(256, dtype=torch.float64).div_(127.5).sub_(1.0).to(torch.float32)
    return levels.to(images.device).index_select(0, images.flatten().int()).view(images.shape)


def to_uint8(images: Float[Tensor, "b 3 h w"], *, rule: Uint8Rule = "round") -> UInt8[Tensor, "b 3 h w"]:
    """Map [-1, 1] to bytes: clamp, scale, round. ``to_uint8(to_float(x)) == x`` for every byte.

    Args:
        images: RGB values; what lies outside [-1, 1] is clamped.
        rule: ``round``, or ``truncate`` for a protocol that reproduces figures measured that way.
            Truncation lowers 95 of the 256 grey levels by one even on untouched images.

    Returns:
        RGB bytes on the same device.

    Raises:
        ValueError: If the input is not a float ``[B, 3, H, W]`` or holds NaN, or there is no such rule.
    """
    import torch

    if not images.is_floating_point() or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"to_uint8 takes float [B, 3, H, W], got {images.dtype} {tuple(images.shape)}")
    if bool(torch.isnan(images).any()):
        raise ValueError("to_uint8 got NaN pixels")
    if rule not in ("round", "truncate"):
        raise ValueError(f"rule is round or truncate, got {rule!r}")
    if rule == "round":
        return images.float().clamp(-1, 1).add(1.0).mul_(127.5).round_().to(torch.uint8)
    return images.float().clamp(-1, 1).add(1.0).div_(2.0).mul_(255.0).to(torch.uint8)


def load_rgb(source: str | Path | bytes) -> Image.Image:
    """Read any image file as 8-bit RGB, upright.

    EXIF orientation is applied (damaged EXIF data counts as none); of an animation the first frame is taken; grey, palette,
    CMYK, YCbCr and LAB are converted; transparency is composited over white; embedded colour profiles are ignored.
    Greys of 16 or more bits are taken as 0..65535, float greys as [0, 1] if none exceeds 1 and as [0, 255] otherwise
    (NaN is black), and what lies outside is clamped. Of 16-bit colours Pillow keeps the high byte.

    Args:
        source: A path, or the bytes of a file.

    Returns:
        A Pillow image in mode RGB.

    Raises:
        UnreadableImage: If the file is missing, not an image, truncated, or larger than ``MAX_PIXELS``.
    """
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        with _strict_pillow(), Image.open(io.BytesIO(data), formats=_readable_formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnreadableImage(f"{image.width}x{image.height} pixels, more than {MAX_PIXELS}")
            if image.format == "JPEG2000" and JPEG2000_END not in data:  # OpenJPEG may decode a cut one as flat grey
                raise UnreadableImage("truncated: no end of codestream")
            with checked_tiff(image, data):
                image.load()
            return _as_rgb(_upright(image))
    except UnreadableImage:
        raise
    except UnidentifiedImageError as error:  # its text is the address of a buffer
        raise UnreadableImage("not an image of a known format, or cut off in its header") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"absurdly large ({error})") from error
    except Exception as error:  # Pillow plugins raise many kinds: OSError, SyntaxError, ValueError, struct.error, ...
        raise UnreadableImage.because(error) from error


FORMATS = ("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP")
"""Formats that are read. Others of Pillow's are not: some, such as EPS, would start another program on the file."""


@cache
def _readable_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


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


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # the pixels are intact; ImageOps.exif_transpose would refuse them
        return image
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.int64)
        grey = (levels.clip(0, 65535) * 255 + 32767) // 65535
        grey[levels == image.info.get("transparency", -1)] = 255
        image = Image.fromarray(grey.astype(np.uint8))
    elif image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        scale = 255.0 if values.max(initial=0.0, where=np.isfinite(values)) <= 1 else 1.0
        image = Image.fromarray((np.where(np.isnan(values), 0.0, values) * scale).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return image.convert("RGB")
