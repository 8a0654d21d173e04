"""Where the samples of a tar shard lie, found by one pass over its headers and kept in the user's cache.

An index is named by digests: of the place of its shard, and of what tells one state of it from another. It begins with the digest of its
own bytes. One that does not have it is damaged: it is removed, and the headers are read again. One that nobody looks up for long is removed,
too, as its shard may be gone.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from tokbench.data.folder import check_different, printable
from tokbench.data.tar_members import PARTS, samples_in
from tokbench.errors import TokbenchError
from tokbench.files import remove_abandoned, write_bytes
from tokbench.names import Names
from tokbench.regular import NotRegular, open_regular
from tokbench.weights.assets import cache_dir

VERSION = 1
"""Raised whenever a shard may be read otherwise."""

WORTH_KEEPING = 1000
"""Samples of a shard from which on its index is kept: fewer are found as quickly by reading the headers again."""

DAYS_UNUSED = 90
"""Days that an index is kept without being looked up."""

_ENDS = 64 << 10
"""Bytes at either end of a shard that tell its states apart, beside size and time."""

_DIGEST = hashlib.sha256().digest_size


@dataclass(frozen=True)
class ShardIndex:
    """The samples of one shard.

    Args:
        keys: Their keys, sorted, fit to be printed.
        places: Offset and size of each of ``PARTS``, -1 where a sample has none; int64 ``[n, 8]``.
        passed_over: Links to images, and images of kinds that are not read.
        lost_notes: Texts, classes and fields that belong to no image.
        empty: Folders in which nothing lies.
    """

    keys: Names
    places: np.ndarray
    passed_over: tuple[str, ...]
    lost_notes: tuple[str, ...]
    empty: tuple[str, ...]


def shard_index(path: Path) -> ShardIndex:
    """Look an index up in the cache, or make it.

    Args:
        path: The shard.

    Raises:
        TokbenchError: If the shard is missing, compressed, truncated or damaged, a key has two images, or two samples have one key.
    """
    kept = _kept_at(path)
    found = None if kept is None else _read(kept)
    if found is not None:
        return found
    made = _made(path)
    if kept is not None and len(made.keys) >= WORTH_KEEPING:
        with suppress(TokbenchError, OSError):  # a cache that cannot be written is left alone
            write_bytes(kept, _packed(made))
            for other in kept.parent.glob(f"{kept.name.partition('-')[0]}-*"):
                if other != kept:
                    other.unlink()  # of an earlier state of the shard
    return made


def remove_unused() -> None:
    """Remove the indexes that nobody has looked up for long, and what killed processes have left of others."""
    folder, oldest = _folder(), time.time() - DAYS_UNUSED * 24 * 3600
    with suppress(OSError):  # a cache that cannot be read is left alone
        remove_abandoned(folder, set())
        for kept in folder.glob("*.index"):
            with suppress(OSError):  # another process may have removed it, or the cache cannot be written
                if kept.stat().st_mtime < oldest:
                    kept.unlink()


def _folder() -> Path:
    return cache_dir() / "shards"


def _made(path: Path) -> ShardIndex:
    samples, places, lost = samples_in(path)
    keys = Names.of(map(printable, samples))
    check_different(keys, path.name)
    if keys.order is not None:
        places, keys = places[keys.order], Names.of(keys[place] for place in keys.order.data)
    notes, passed_over, empty = (tuple(map(printable, names)) for names in (lost.notes, lost.passed_over, sorted(lost.empty)))
    return ShardIndex(keys, places, passed_over, notes, empty)


def _kept_at(path: Path) -> Path | None:
    """Where the index of a shard as it is now is kept; None of one that cannot be looked at."""
    try:
        file, _ = open_regular(path)
        with file:
            status = os.fstat(file.fileno())
            state = hashlib.sha256(f"{VERSION} {status.st_size} {status.st_mtime_ns} ".encode() + file.read(_ENDS))
            file.seek(max(0, status.st_size - _ENDS))
            state.update(file.read(_ENDS))
    except (OSError, NotRegular):
        return None
    place = hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()
    return _folder() / f"{place[:32]}-{state.hexdigest()[:32]}.index"


def _packed(index: ShardIndex) -> bytes:
    about = {"passed_over": index.passed_over, "lost_notes": index.lost_notes, "empty": index.empty}
    tensors = {"keys": index.keys.text, "ends": index.keys.ends, "places": index.places}
    data = safetensors.numpy.save(tensors, {"about": json.dumps(about)})
    return hashlib.sha256(data).digest() + data


def _read(kept: Path) -> ShardIndex | None:
    """An index from the cache; None if there is none, or it is damaged."""
    try:
        data = kept.read_bytes()
    except OSError:
        return None
    try:
        if hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
            raise ValueError("damaged")
        tensors = safetensors.numpy.load(data[_DIGEST:])
        about = json.loads(_metadata(data[_DIGEST:])["about"])
        keys, places = Names(tensors["keys"], tensors["ends"]), tensors["places"]
        sound = keys.text.dtype == np.uint8 and keys.ends.dtype == places.dtype == np.int64 and keys.text.ndim == keys.ends.ndim == 1
        steps = np.diff(keys.ends, prepend=0)
        if not sound or places.shape != (len(keys), 2 * len(PARTS)) or (steps < 0).any() or steps.sum() != len(keys.text):
            raise ValueError("of another shape")
        found = ShardIndex(keys, places, *(tuple(map(str, about[name])) for name in ("passed_over", "lost_notes", "empty")))
    except (ValueError, KeyError, TypeError, SafetensorError):
        with suppress(OSError):
            kept.unlink()
        return None
    with suppress(OSError):
        os.utime(kept)  # what was looked up stays
    return found


def _metadata(data: bytes) -> dict[str, str]:
    """What stands in a file of safetensors beside the tensors: its header is JSON behind eight bytes of its length."""
    length = int.from_bytes(data[:8], "little")
    found: dict[str, str] = json.loads(data[8 : 8 + length])["__metadata__"]
    return found
