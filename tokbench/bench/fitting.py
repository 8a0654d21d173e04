"""From a picture of any shape to the square of a protocol: which filter scales it, and where it is cut."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from tokbench.records.protocol import HALVING, TORCHVISION, Protocol

FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
    HALVING: Image.Resampling.BICUBIC,
}


def fit(image: Image.Image, protocol: Protocol) -> np.ndarray:
    """Scale an image's shortest side to the protocol's size and keep the centre square.

    Returns:
        Bytes ``[size, size, 3]``.
    """
    size = protocol.size
    if image.size == (size, size):
        return np.asarray(image)
    if protocol.scales_all:
        return _cut(_scaled(image, protocol), size, torchvision=protocol.crop == TORCHVISION)
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    if side == size and protocol.crop == "centre, whole pixels":
        return np.asarray(image.crop((int(left), int(top), int(left) + size, int(top) + size)))
    # Scaling the centre square alone equals scaling everything and cutting, without the rounding of the other side.
    return np.asarray(image.resize((size, size), FILTERS[protocol.resize], box=(left, top, left + side, top + side)))


def judged(pixels: np.ndarray, size: int) -> np.ndarray:
    """Scale a square of bytes to the size it is judged at, by ``bilinear`` with antialias.

    Args:
        pixels: ``[h, w, 3]``.
        size: Side of the result.

    Returns:
        Bytes ``[size, size, 3]``.
    """
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))


def _scaled(image: Image.Image, protocol: Protocol) -> Image.Image:
    """The whole picture with its shortest side at the protocol's size.

    Sources: ``center_crop_arr`` of guided-diffusion's ``image_datasets.py``, and torchvision's ``Resize``.
    """
    size = protocol.size
    if protocol.resize == HALVING:
        while min(image.size) >= 2 * size:
            image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    short = min(image.size)
    if protocol.crop == TORCHVISION:
        width, height = (size if side == short else int(size * side / short) for side in image.size)
    else:
        width, height = (round(side * (size / short)) for side in image.size)
    if (width, height) == image.size:
        return image
    if protocol.antialias:
        return image.resize((width, height), FILTERS[protocol.resize])
    return _without_antialias(image, width, height, protocol.resize)


def _without_antialias(image: Image.Image, width: int, height: int, name: str) -> Image.Image:
    """Between the nearest pixels alone, however much is left out between them, as OpenCV and tensors are resized by default."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].double()
    found = F.interpolate(pixels, size=(height, width), mode=name, align_corners=False, antialias=False)
    return Image.fromarray(found[0].add(0.5).floor().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy())


def _cut(image: Image.Image, size: int, *, torchvision: bool) -> np.ndarray:
    """The centre square, on whole pixels."""
    if torchvision:
        left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    else:
        left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))
