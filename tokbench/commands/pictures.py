"""Pictures that commands write: their formats, and one line where one cannot be drawn."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from tokbench.commands.console import say
from tokbench.commands.destinations import check_file
from tokbench.errors import TokbenchError
from tokbench.files import write_bytes

if TYPE_CHECKING:
    from PIL import Image

PICTURES = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}
"""Formats of pictures, by the ending of their files."""


def check_picture(path: Path, option: str) -> None:
    """Refuse a place where no picture can be written.

    Args:
        path: Where it shall lie.
        option: By which the user named it, such as ``--output``.

    Raises:
        TokbenchError: If its ending is of no format, or nothing can be written there.
    """
    if path.suffix.lower() not in PICTURES:
        raise TokbenchError(f"{option} {str(path)!r} must end in {', '.join(PICTURES)}")
    check_file(path, option)


def write_picture(picture: Image.Image, path: Path, *, smaller: str) -> None:
    """Write a picture in the format of its name, and say so.

    Args:
        picture: RGB.
        path: Where it shall lie.
        smaller: What makes it smaller, for the error of one that is too large for its format.

    Raises:
        TokbenchError: If it cannot be written.
    """
    try:
        data = picture_bytes(picture, PICTURES[path.suffix.lower()])
    except (OSError, ValueError) as error:  # too large for the format
        raise TokbenchError(f"cannot draw {path} ({error}); choose {smaller}, or .png") from error
    write_bytes(path, data)
    say(f"wrote {path}")


def picture_bytes(picture: Image.Image, form: str = "PNG") -> bytes:
    """A picture as the bytes of a file.

    Args:
        picture: RGB.
        form: One of the values of ``PICTURES``.

    Raises:
        OSError: If the format cannot hold it; for some formats ``ValueError``.
    """
    stream = io.BytesIO()
    picture.save(stream, form)
    return stream.getvalue()
