"""Image files before they are decoded: read within bounds, checked as far as their format can tell, without what costs pixels.

path -> regular file, not too large -> bytes -> PNG: checksums, metadata left out -> decoder
"""

from __future__ import annotations

import os
import re
import struct
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tokbench.regular import open_regular

SMALL = 64 * 10**6
"""Images that take up to so many bytes to decode are decoded at any time; of larger ones, one after the other."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8\xff"

_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS")
_ORIENTATION = b"eXIf"


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
        return cls(" ".join(reason.split())[:300])


def read_regular(path: Path, limit: int) -> bytes:
    """Read a file that is neither a pipe nor a device, which might never end, and not too large.

    Args:
        path: Path of the file.
        limit: Bytes at most.

    Raises:
        UnreadableImage: If it is another kind of file or larger; the reason does not name the path.
    """
    try:
        file, size = open_regular(path)
        with file:
            if size > limit:
                raise too_large(size, limit)
            with one_large_at_a_time(size):
                return file.read(limit)
    except (OSError, ValueError) as error:
        if isinstance(error, UnreadableImage):
            raise
        raise UnreadableImage.because(error) from error


def too_large(size: int, limit: int) -> UnreadableImage:
    """Build the error for a file above a limit, to be raised by the caller."""
    return UnreadableImage(f"a file of {size / 2**20:.0f} MiB, more than {limit >> 20}")


_large = threading.RLock()


@contextmanager
def one_large_at_a_time(size: int) -> Iterator[None]:
    """Wait until no other thread works on something large, if this is.

    Args:
        size: Bytes that it takes.
    """
    if size <= SMALL:
        yield
        return
    with _large:
        yield


def png_pixels(data: bytes) -> bytes:
    """Check a PNG file and leave out what does not change its pixels, such as texts and profiles of any size.

    Args:
        data: The file.

    Returns:
        The file with the chunks that hold pixels and orientation.

    Raises:
        UnreadableImage: If a chunk that holds pixels is cut or its checksum differs; decoders do not look at all of them.
    """
    kept, at, whole = [PNG_SIGNATURE], len(PNG_SIGNATURE), True
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + size
        critical = not kind[0] & 0x20 or kind in _PIXEL_CHUNKS
        if critical or kind == _ORIENTATION:
            intact = end <= len(data) and zlib.crc32(data[at + 4 : end - 4]) == struct.unpack_from(">I", data, end - 4)[0]
            if critical and not intact:
                raise UnreadableImage(f"truncated or damaged: the checksum of its {kind.decode('ascii', 'backslashreplace')} differs")
            kept += [data[at:end]] if intact else []
            whole = whole and intact
        else:
            whole = False
        if kind == b"IEND":
            return data if whole else b"".join(kept)
        at = end
    raise UnreadableImage("truncated: the end of the PNG is missing")


def jpeg_pixels(data: bytes) -> bytes:
    """Leave out the metadata of a JPEG file: comments, and all application segments but those that say how colours are stored.

    Args:
        data: The file.

    Returns:
        The rest, or the file as it is if its segments cannot be followed.
    """
    kept, at = [data[:2]], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        (size,) = struct.unpack_from(">H", data, at + 2)
        if marker == 0xDA or size < 2 or at + 2 + size > len(data):
            break
        if not (0xE1 <= marker <= 0xEF and marker != 0xEE) and marker != 0xFE:
            kept.append(data[at : at + 2 + size])
        at += 2 + size
    return b"".join([*kept, data[at:]])


def largest_icon(data: bytes) -> int:
    """Pixels of the largest PNG in an icon file, by what that says itself."""
    pixels = 0
    for entry in range(min(struct.unpack_from("<H", data, 4)[0], (len(data) - 6) // 16)):
        (at,) = struct.unpack_from("<I", data, 6 + 16 * entry + 12)
        if data[at : at + 8] == PNG_SIGNATURE and at + 24 <= len(data):
            width, height = struct.unpack_from(">II", data, at + 16)
            pixels = max(pixels, width * height)
    return pixels


_TIFF_ERROR = re.compile(rb"(?m)^(?![^\n]*Warning)\w+: [^\n]*\.\n?")
_stderr = threading.Lock()


@contextmanager
def tiff_errors() -> Iterator[None]:
    """Take what libtiff writes to stderr as what it is: it decodes some damaged files to other pixels, and only writes a line.

    What others write there in the meantime is passed on.

    Raises:
        UnreadableImage: If libtiff wrote of an error.
    """
    with _stderr, tempfile.TemporaryFile() as written:
        sys.stderr.flush()
        try:
            own = os.dup(2)
        except OSError:  # there is no stderr
            yield
            return
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(own, 2)
            os.close(own)
            written.seek(0)
            text = written.read(1 << 20)
            errors = _TIFF_ERROR.findall(text)
            if rest := _TIFF_ERROR.sub(b"", text):
                os.write(2, rest)
        if errors:
            raise UnreadableImage(f"damaged: {' '.join(errors[0].decode('utf-8', 'replace').split())[:200]}")
