"""How much room cached features take, and which of them go when it is more than the user allows; without torch."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tokbench.errors import TokbenchError
from tokbench.weights.assets import cache_dir

LIMIT_VARIABLE, LIMIT_GB = "TOKBENCH_CACHE_GB", 4.0
"""Where the user says how many gigabytes features may take, and how many it is where nothing is said."""

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True)
class Segment:
    """One file of features.

    Args:
        path: Where it lies, in the folder of its network.
        size: Its bytes.
        used: When it was written or last read from, in seconds since 1970.
    """

    path: Path
    size: int
    used: float


@dataclass(frozen=True)
class Pruned:
    """What was removed.

    Args:
        segments: How many files.
        size: Their bytes.
        left: Bytes of those that stay.
    """

    segments: int
    size: int
    left: int


def features_dir() -> Path:
    """Where features of reference images are kept. Not created."""
    return cache_dir() / "features"


def limit() -> int:
    """Bytes that features may take: ``$TOKBENCH_CACHE_GB`` gigabytes, 4 where it is not set; 0 keeps none.

    Raises:
        TokbenchError: If it is no such number.
    """
    text = os.environ.get(LIMIT_VARIABLE, "").strip()
    try:
        value = float(text) if text else LIMIT_GB
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise TokbenchError(f"{LIMIT_VARIABLE} is a number of gigabytes, 0 or more, got {text!r}; unset it to keep {LIMIT_GB:g}")
    return round(value * UNITS["GB"])


def bytes_of(text: str) -> int:
    """Read a size such as ``500MB``, ``1.5 GB`` or ``0``.

    Raises:
        TokbenchError: If it is none.
    """
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([KMGT]?B)?", text.strip(), flags=re.IGNORECASE)
    if found is None:
        raise TokbenchError(f"a size is a number and B, KB, MB, GB or TB, as 500MB, got {text!r}")
    return round(float(found[1]) * UNITS[(found[2] or "").upper()])


def in_words(size: int) -> str:
    """Write a number of bytes: ``1.5 GB``."""
    unit = next((name for name in ("TB", "GB", "MB", "KB") if size >= UNITS[name]), "B")
    return f"{size / UNITS[unit]:.1f} {unit}" if unit != "B" else f"{size} B"


def segments(folder: Path) -> list[Segment]:
    """Find the files of features of all networks, those not used for longest first.

    Args:
        folder: Where the folders of networks lie; there may be none.
    """
    found = []
    for path in folder.glob("*/*.safetensors"):
        with suppress(OSError):  # another process may have removed it
            status = path.lstat()
            if path.is_file() and not path.is_symlink():
                found.append(Segment(path, status.st_size, status.st_mtime))
    return sorted(found, key=lambda segment: (segment.used, segment.path))


def prune(folder: Path, most: int, *, spared: Collection[Path] = ()) -> Pruned:
    """Remove files of features until no more than ``most`` bytes are left, those not used for longest first.

    Args:
        folder: Where the folders of networks lie.
        most: Bytes that may stay.
        spared: Files that stay in any case.
    """
    found = segments(folder)
    left, count, size = sum(segment.size for segment in found), 0, 0
    for segment in found:
        if left <= most:
            break
        if segment.path in spared:
            continue
        try:
            segment.path.unlink()
        except FileNotFoundError:
            left -= segment.size  # another process was before this one
            continue
        except OSError:
            continue  # it stays
        left, count, size = left - segment.size, count + 1, size + segment.size
        with suppress(OSError):
            segment.path.parent.rmdir()  # if it was the last
    return Pruned(count, size, left)
