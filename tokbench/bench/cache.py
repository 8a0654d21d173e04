"""Features of reference images on disk, found again by the content of the image and the identity of the network.

A segment is named by the digest of its network and of its own bytes. One that does not have the digest it is named by is damaged: it is
removed, and its features are computed again. Segments of older versions have other names, and are left alone.

Memory holds where features lie, sixteen bytes an image, not the features. They are written a thousand at a time, and read where they are wanted.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from tokbench.bench.cache_size import limit, prune
from tokbench.bench.networks import FeatureNetwork
from tokbench.configs import canonical_json
from tokbench.errors import TokbenchError
from tokbench.files import remove_abandoned, write_bytes
from tokbench.regular import open_regular

NAME_LENGTH = 32
"""Digits of a segment's digest in its name."""

SEGMENT = 1024
"""Images whose features wait in memory before they are written."""

KEY = 32
"""Bytes of an image's digest."""

START_OF_KEY = 8
"""How many of them are held in memory; all are read where the features are."""


class FeatureCache:
    """Features by image digest, in segments that are written once and never changed.

    Args:
        folder: Where segments of all networks lie; made when the first is written.
        network: Whose features they are; its settings are part of the segments' place.

    Raises:
        TokbenchError: If the limit that the user set is no number of gigabytes.
    """

    def __init__(self, folder: Path, network: FeatureNetwork) -> None:
        identity = canonical_json([network.settings, network.computed])
        self._identity = hashlib.sha256(identity.encode()).hexdigest()
        self._place, self._limit = folder, limit()
        self.folder = folder / f"{network.name}-{self._identity[:16]}"
        self.dim = network.dim
        self._known = _Places()
        self._fresh: dict[bytes, np.ndarray] = {}
        self._used: set[Path] = set()  # segments that this process wrote, or found to be whole
        self._writes = self._limit > 0
        for path in sorted(self.folder.glob("*.safetensors")):
            self._index(path)

    def get(self, key: bytes) -> np.ndarray | None:
        """Features of an image, or None if they are not known."""
        if key in self._fresh:
            return self._fresh[key]
        for path, row, rows in self._known.find(key):
            if path in self._used or self._is_whole(path):
                with suppress(OSError, ValueError):  # another process may have removed it
                    file, size = open_regular(path)
                    with file:
                        file.seek(size - (rows - row) * KEY)
                        if file.read(KEY) != key:
                            continue  # that of an image whose digest begins alike
                        file.seek(size - rows * KEY - (rows - row) * 4 * self.dim)
                        found = file.read(4 * self.dim)
                    if len(found) == 4 * self.dim:
                        return np.frombuffer(found, dtype=np.float32)
            self._known.forget(path)
        return None

    def put(self, key: bytes, features: np.ndarray) -> None:
        """Remember the features of an image; they are written with those of others, at ``flush`` at the latest."""
        if self._writes:
            self._fresh[key] = features.astype(np.float32)
            if len(self._fresh) >= SEGMENT:
                self.flush()

    def flush(self) -> None:
        """Write what is new as one segment, atomically, and keep to the limit. A cache that cannot be written is left alone."""
        if not self._fresh:
            return
        keys = sorted(self._fresh)
        tensors = {
            "keys": np.stack([np.frombuffer(key, dtype=np.uint8) for key in keys]),
            "features": np.stack([self._fresh[key] for key in keys]),
        }
        data = safetensors.numpy.save(tensors)
        path = self.folder / f"{self._name(data)}.safetensors"
        self._fresh = {}
        try:
            write_bytes(path, data)
            remove_abandoned(self.folder, set())
        except TokbenchError:
            self._writes = False
            return
        self._used.add(path)
        self._known.add(path, tensors["keys"])
        self._writes = prune(self._place, self._limit, spared=self._used).left <= self._limit

    def _name(self, data: bytes) -> str:
        return hashlib.sha256(self._identity.encode() + hashlib.sha256(data).digest()).hexdigest()[:NAME_LENGTH]

    def _index(self, path: Path) -> None:
        """Read which images a segment is of; whether it is whole shows when it is used."""
        if len(path.stem) != NAME_LENGTH or not path.is_file():
            return
        try:
            with safe_open(path, "np") as file:
                keys, shape = file.get_tensor("keys"), tuple(file.get_slice("features").get_shape())
        except (OSError, SafetensorError, KeyError, ValueError, TypeError):
            self._is_whole(path)  # or it is removed
            return
        if keys.dtype == np.uint8 and keys.ndim == 2 and keys.shape[1] == KEY and shape == (len(keys), self.dim):
            self._known.add(path, keys)
        else:
            self._is_whole(path)

    def _is_whole(self, path: Path) -> bool:
        """Whether a segment has the digest it is named by, and lies in the file as this version reads it. A damaged one is removed."""
        try:
            data = path.read_bytes()
            if self._name(data) != path.stem:
                path.unlink()
                return False
            tensors = safetensors.numpy.load(data)
            features, keys = tensors["features"], tensors["keys"]
        except (OSError, SafetensorError, KeyError):
            return False
        whole = features.dtype == np.float32 and data.endswith(features.tobytes() + keys.tobytes())
        if whole:
            self._used.add(path)
            with suppress(OSError):
                os.utime(path)  # the limit removes first what was not used for longest
        return whole


class _Places:
    """In which row of which segment the features of an image lie, by the first bytes of its digest: there may be millions.

    At the end of a segment are the features of all its images, and then their keys.
    """

    def __init__(self) -> None:
        self._segments: list[tuple[Path, int]] = []  # and how many rows each has
        self._found: tuple[np.ndarray, ...] = np.empty(0, np.uint64), np.empty(0, np.int32), np.empty(0, np.int32)
        self._fresh: list[tuple[np.ndarray, ...]] = []  # of segments that were added since anything was looked for

    def __len__(self) -> int:
        """Rows of segments, an image that lies in several counted in each."""
        return len(self._found[0]) + sum(len(starts) for starts, *_ in self._fresh)

    def add(self, path: Path, keys: np.ndarray) -> None:
        """Note a segment; ``keys`` are the digests of its images, uint8 ``[n, 32]``."""
        starts = np.ascontiguousarray(keys[:, :START_OF_KEY]).view(np.uint64)[:, 0]
        self._fresh.append((starts, np.full(len(keys), len(self._segments), np.int32), np.arange(len(keys), dtype=np.int32)))
        self._segments.append((path, len(keys)))

    def find(self, key: bytes) -> list[tuple[Path, int, int]]:
        """Segments that may hold an image, the latest first, with its row in each and how many rows that has."""
        if self._fresh:
            fresh = [np.concatenate(columns) for columns in zip(*self._fresh, strict=True)]
            order = fresh[0].argsort(kind="stable")
            places = np.searchsorted(self._found[0], fresh[0][order], side="right")
            self._found = tuple(np.insert(old, places, new[order]) for old, new in zip(self._found, fresh, strict=True))
            self._fresh = []
        starts, segments, rows = self._found
        wanted = np.frombuffer(key[:START_OF_KEY].ljust(START_OF_KEY, b"\0"), np.uint64)[0]
        first, end = np.searchsorted(starts, wanted, side="left"), np.searchsorted(starts, wanted, side="right")
        found = zip(segments[first:end].tolist(), rows[first:end].tolist(), strict=True)
        return [(self._segments[segment][0], row, self._segments[segment][1]) for segment, row in found][::-1]

    def forget(self, path: Path) -> None:
        """Leave a segment out from now on."""
        gone = [number for number, (own, _) in enumerate(self._segments) if own == path]
        kept = ~np.isin(self._found[1], gone)
        starts, segments, rows = self._found
        self._found = starts[kept], segments[kept], rows[kept]
