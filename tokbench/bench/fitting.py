"""From a picture of any shape to that of a protocol: which filter scales it, and where it is cut."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from tokbench.images import MAX_PIXELS, UnreadableImage
from tokbench.records.protocol import HALVING, TORCHVISION, Protocol
from tokbench.resizing import resized

FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
    HALVING: Image.Resampling.BICUBIC,
}


def fit(image: Image.Image, protocol: Protocol) -> np.ndarray:
    """Scale an image until it just covers the protocol's size, and keep the centre.

    Returns:
        Bytes ``[height, width, 3]``.

    Raises:
        UnreadableImage: If it is so thin that all of it would be too many pixels once it is scaled.
    """
    height, width = protocol.shape
    if image.size == (width, height):
        return np.asarray(image)
    if protocol.scales_all:
        return _cut(_scaled(image, protocol), height, width, torchvision=protocol.crop == TORCHVISION)
    across, down = _largest(image, height, width)
    left, top = (image.width - across) / 2, (image.height - down) / 2
    if (across, down) == (width, height) and protocol.crop == "centre, whole pixels":
        return np.asarray(image.crop((int(left), int(top), int(left) + width, int(top) + height)))
    # Scaling the centre alone equals scaling everything and cutting, without the rounding of the other side.
    return np.asarray(resized(image, (width, height), FILTERS[protocol.resize], (left, top, left + across, top + down)))


def covers(image: Image.Image, protocol: Protocol) -> bool:
    """Whether an image need not be enlarged to cover the protocol's size."""
    height, width = protocol.shape
    return image.width >= width and image.height >= height


def _largest(image: Image.Image, height: int, width: int) -> tuple[float, float]:
    """Width and height of the largest part of an image that has the shape of a size."""
    if _height_decides(image, height, width):
        return image.height * width / height, image.height
    return image.width, image.width * height / width


def _height_decides(image: Image.Image, height: int, width: int) -> bool:
    """Whether an image that is scaled to a height covers the width too."""
    return image.width * height >= image.height * width


def judged(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Scale a square of bytes to the size it is judged at, by ``bilinear`` with antialias.

    Args:
        pixels: ``[h, w, 3]``.
        shape: Height and width of the result.

    Returns:
        Bytes ``[height, width, 3]``.
    """
    height, width = shape
    return np.asarray(resized(Image.fromarray(pixels), (width, height), Image.Resampling.BILINEAR))


def _scaled(image: Image.Image, protocol: Protocol) -> Image.Image:
    """The whole picture, as small as it covers the protocol's size: a square's with its shortest side at that.

    Sources: ``center_crop_arr`` of guided-diffusion's ``image_datasets.py``, and torchvision's ``Resize``. Both are of squares; of other
    shapes the side that is scaled exactly is the one that decides.
    """
    height, width = protocol.shape
    if protocol.resize == HALVING:
        while image.width >= 2 * width and image.height >= 2 * height:
            image = resized(image, (image.width // 2, image.height // 2), Image.Resampling.BOX)
    size, short = (height, image.height) if _height_decides(image, height, width) else (width, image.width)
    if protocol.crop == TORCHVISION:
        across, down = (size if side == short else int(size * side / short) for side in image.size)
    else:
        across, down = (round(side * (size / short)) for side in image.size)
    across, down = max(across, width), max(down, height)  # a fraction lost by rounding leaves no pixel out
    if (across, down) == image.size:
        return image
    if across * down > MAX_PIXELS:
        raise UnreadableImage(
            f"{image.width}x{image.height} pixels, so thin that they would be {across}x{down} once scaled, more than {MAX_PIXELS}"
        )
    if protocol.antialias:
        return resized(image, (across, down), FILTERS[protocol.resize])
    return _without_antialias(image, across, down, protocol.resize)


def _without_antialias(image: Image.Image, width: int, height: int, name: str) -> Image.Image:
    """Between the nearest pixels alone, however much is left out between them, as OpenCV and tensors are resized by default."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].double()
    found = F.interpolate(pixels, size=(height, width), mode=name, align_corners=False, antialias=False)
    return Image.fromarray(found[0].add(0.5).floor().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy())


def _cut(image: Image.Image, height: int, width: int, *, torchvision: bool) -> np.ndarray:
    """The centre, on whole pixels."""
    if torchvision:
        left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    else:
        left, top = (image.width - width) // 2, (image.height - height) // 2
    return np.asarray(image.crop((left, top, left + width, top + height)))
