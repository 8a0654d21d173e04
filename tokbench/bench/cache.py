"""Features of reference images on disk, found again by the content of the image and the identity of the network.

A segment is named by the digest of its network and of its own bytes. One that does not have the digest it is named by is damaged: it is
removed, and its features are computed again. Segments of older versions have other names, and are left alone.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from tokbench.bench.networks import FeatureNetwork
from tokbench.configs import canonical_json
from tokbench.errors import TokbenchError
from tokbench.files import remove_abandoned, write_bytes

NAME_LENGTH = 32
"""Digits of a segment's digest in its name."""


class FeatureCache:
    """Features by image digest, in segments that are written once and never changed.

    Args:
        folder: Where segments lie; made when the first is written.
        network: Whose features they are; its settings are part of the segments' place.
    """

    def __init__(self, folder: Path, network: FeatureNetwork) -> None:
        self._identity = hashlib.sha256(canonical_json(network.settings).encode()).hexdigest()
        self.folder = folder / f"{network.name}-{self._identity[:16]}"
        self.dim = network.dim
        self._known: dict[bytes, np.ndarray] = {}
        self._fresh: dict[bytes, np.ndarray] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            self._read(path)

    def get(self, key: bytes) -> np.ndarray | None:
        """Features of an image, or None if they are not known."""
        found = self._known.get(key)
        return found if found is not None else self._fresh.get(key)

    def put(self, key: bytes, features: np.ndarray) -> None:
        """Remember the features of an image; ``flush`` writes them."""
        self._fresh[key] = features.astype(np.float32)

    def flush(self) -> None:
        """Write what is new as one segment, atomically. A cache that cannot be written is left alone."""
        if not self._fresh:
            return
        keys = sorted(self._fresh)
        tensors = {
            "keys": np.stack([np.frombuffer(key, dtype=np.uint8) for key in keys]),
            "features": np.stack([self._fresh[key] for key in keys]),
        }
        data = safetensors.numpy.save(tensors)
        with suppress(TokbenchError):
            write_bytes(self.folder / f"{self._name(data)}.safetensors", data)
            remove_abandoned(self.folder, set())
        self._known |= self._fresh
        self._fresh = {}

    def _name(self, data: bytes) -> str:
        return hashlib.sha256(self._identity.encode() + hashlib.sha256(data).digest()).hexdigest()[:NAME_LENGTH]

    def _read(self, path: Path) -> None:
        if len(path.stem) != NAME_LENGTH or not path.is_file():
            return
        try:
            data = path.read_bytes()
            if self._name(data) != path.stem:
                path.unlink()
                return
            tensors = safetensors.numpy.load(data)
            keys, features = tensors["keys"], tensors["features"]
        except (OSError, SafetensorError, KeyError):
            return
        if features.dtype == np.float32 and features.shape == (len(keys), self.dim) and keys.shape[1:] == (32,):
            self._known.update(zip((key.tobytes() for key in keys), features, strict=True))
