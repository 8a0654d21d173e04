"""Features of reference images on disk, found again by the content of the image and the identity of the network.

A segment is named by the digest of its network and of its own bytes. One that does not have the digest it is named by is damaged: it is
removed, and its features are computed again. Segments of older versions have other names, and are left alone.

Memory holds where features lie, not the features. They are written a thousand at a time, and read where they are wanted.
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
        self._known: dict[bytes, tuple[Path, int]] = {}
        self._fresh: dict[bytes, np.ndarray] = {}
        self._used: set[Path] = set()  # segments that this process wrote, or found to be whole
        self._writes = self._limit > 0
        for path in sorted(self.folder.glob("*.safetensors")):
            self._index(path)

    def get(self, key: bytes) -> np.ndarray | None:
        """Features of an image, or None if they are not known."""
        if key in self._fresh:
            return self._fresh[key]
        if key not in self._known:
            return None
        path, place = self._known[key]
        if path in self._used or self._is_whole(path):
            with suppress(OSError, ValueError):  # another process may have removed it
                file, size = open_regular(path)
                with file:
                    file.seek(size - place)
                    found = file.read(4 * self.dim)
                if len(found) == 4 * self.dim:
                    return np.frombuffer(found, dtype=np.float32)
        self._forget(path)
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
        self._add(path, keys)
        self._writes = prune(self._place, self._limit, spared=self._used).left <= self._limit

    def _name(self, data: bytes) -> str:
        return hashlib.sha256(self._identity.encode() + hashlib.sha256(data).digest()).hexdigest()[:NAME_LENGTH]

    def _add(self, path: Path, keys: list[bytes]) -> None:
        """Note where the features of images begin, counted from the end of the file: those of all images, and then their keys."""
        end = len(keys) * (4 * self.dim + KEY)
        self._known.update((key, (path, end - 4 * self.dim * row)) for row, key in enumerate(keys))

    def _forget(self, path: Path) -> None:
        self._known = {key: found for key, found in self._known.items() if found[0] != path}

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
            self._add(path, [key.tobytes() for key in keys])
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
