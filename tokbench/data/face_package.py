"""What the package ``@vladmandic/face-api`` 1.7.15 (MIT) carries: a network that finds faces, one that compares them, six photos.

Its networks are kept as TensorFlow.js has them: a list of names, shapes and scales, and one file of numbers, most of them bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import numpy as np

from tokbench.data.folder import StoredImages
from tokbench.errors import TokbenchError
from tokbench.weights.assets import get_asset, need_asset

if TYPE_CHECKING:
    from torch import Tensor

    from tokbench.nn.face_detection import FaceDetector
    from tokbench.nn.face_embedding import FaceEmbedder

ASSET = "faces"
PACKAGE_SHA256 = get_asset(ASSET).sha256
DETECTOR, EMBEDDER = "tiny_face_detector_model", "face_recognition_model"
PHOTOS = tuple(f"sample{number}" for number in range(1, 7))


class FacePhotos(StoredImages):
    """The six photos of the package's demonstration: groups of people, 1920 pixels wide.

    Raises:
        TokbenchError: If the package has not been fetched or is not the expected one.
    """

    name = "faces"
    ids = PHOTOS

    def __init__(self) -> None:
        self._files = _members(*(f"demo/{name}.jpg" for name in PHOTOS))

    def read_bytes(self, index: int) -> bytes:
        """The JPEG file."""
        return self._files[index]


def load_face_detector() -> FaceDetector:
    """Build the network that finds faces.

    Raises:
        TokbenchError: If the package has not been fetched or is not the expected one.
    """
    from tokbench.nn.face_detection import build_face_detector

    return build_face_detector(_weights(DETECTOR))


def load_face_embedder() -> FaceEmbedder:
    """Build the network that compares faces.

    Raises:
        TokbenchError: If the package has not been fetched or is not the expected one.
    """
    from tokbench.nn.face_embedding import build_face_embedder

    return build_face_embedder(_weights(EMBEDDER))


def _weights(name: str) -> dict[str, Tensor]:
    manifest, data = _members(f"model/{name}-weights_manifest.json", f"model/{name}.bin")
    return decode_weights(json.loads(manifest), data)


def decode_weights(manifest: list[dict[str, Any]], data: bytes) -> dict[str, Tensor]:
    """Read the numbers of a TensorFlow.js network.

    Args:
        manifest: Groups of ``weights``, each with name, shape and dtype, and ``quantization`` (scale and min) where it is kept in bytes.
        data: The numbers of all groups, one after the other.

    Returns:
        float32 tensors by name.

    Raises:
        ValueError: If a type is unknown or the lengths do not agree.
    """
    import torch

    tensors, at = {}, 0
    for weight in (weight for group in manifest for weight in group["weights"]):
        quantization = weight.get("quantization")
        kind = weight["dtype"] if quantization is None else quantization["dtype"]
        if kind not in ("float32", "uint8") or (kind == "uint8") != (quantization is not None):
            raise ValueError(f"{weight['name']} is kept as {kind}, expected float32, or uint8 with a scale")
        count = int(np.prod(weight["shape"]))
        dtype = np.dtype("<f4" if kind == "float32" else "u1")
        if at + count * dtype.itemsize > len(data):
            raise ValueError(f"the numbers end within {weight['name']}")
        values = np.frombuffer(data, dtype, count, at).astype(np.float64)
        if quantization is not None:
            values = values * quantization["scale"] + quantization["min"]
        tensors[weight["name"]] = torch.from_numpy(values.astype(np.float32).reshape(weight["shape"]))
        at += count * dtype.itemsize
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes are left over")
    return tensors


def _members(*names: str) -> list[bytes]:
    path = need_asset(ASSET)
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != PACKAGE_SHA256:
        raise TokbenchError(f"{path} has SHA-256 {digest[:12]}, expected {PACKAGE_SHA256[:12]}; run: tokbench weights get {ASSET} --renew")
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        files = (archive.extractfile(f"package/{name}") for name in names)
        return [file.read() for file in files if file is not None]
