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

LONGEST_SIDE = {"WEBP": 16_383, "JPEG": 65_500}
"""Pixels that a side may have at most; in other formats it may be longer than a whole picture can be."""


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


def check_size(path: Path, height: int, width: int, *, smaller: str) -> None:
    """Refuse a picture that its format does not hold, or that this package would not read again, before any work is done for it.

    Args:
        path: Where it shall lie.
        height: Pixels from top to bottom.
        width: Pixels across.
        smaller: What makes it smaller.

    Raises:
        TokbenchError: If it is too large.
    """
    from tokbench.images import MAX_PIXELS

    form = PICTURES[path.suffix.lower()]
    side = LONGEST_SIDE.get(form)
    given = f"{path} would have {height:,}x{width:,} px"
    if height * width > MAX_PIXELS:
        raise TokbenchError(f"{given}, more than the {MAX_PIXELS:,} that a picture may have; choose {smaller}")
    if side is not None and max(height, width) > side:
        raise TokbenchError(f"{given}, {form} takes {side:,} a side; choose {smaller}, or .png")


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
