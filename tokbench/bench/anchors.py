"""Codecs as anchors: WebP and JPEG at the bytes a tokenizer spends, so that its figures have something known beside them."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from tokbench.errors import TokbenchError

PATTERN = re.compile(r"anchor/(webp|jpeg)-(\d+)")


@dataclass(frozen=True)
class AnchorConfig:
    """A codec at a budget.

    Args:
        codec: Which codec.
        bytes_per_image: Budget; each image takes the best quality that stays within it.
        headers: What counts as bytes: the whole file.
    """

    codec: Literal["webp", "jpeg"]
    bytes_per_image: int
    headers: Literal["counted"] = "counted"


class Anchor:
    """Compresses every image to the best quality that fits a budget; where none fits, to the smallest file there is.

    Args:
        config: Codec and budget.
    """

    def __init__(self, config: AnchorConfig) -> None:
        self.config = config
        self.name = f"anchor/{config.codec}-{config.bytes_per_image}"

    def transcode(self, images: UInt8[Tensor, "b 3 h w"]) -> tuple[UInt8[Tensor, "b 3 h w"], list[int]]:
        """Compress and decompress.

        Returns:
            What came back, and the bytes each image took.
        """
        decoded, sizes = [], []
        for pixels in images.permute(0, 2, 3, 1).cpu().numpy():
            data = self._compress(Image.fromarray(pixels))
            sizes.append(len(data))
            with Image.open(io.BytesIO(data)) as image:
                decoded.append(np.asarray(image.convert("RGB")))
        return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).contiguous(), sizes

    def _compress(self, image: Image.Image) -> bytes:
        low, high = 0, 100  # bytes grow with quality; the best that fits is found by halving
        best = self._at(image, 0)
        while low < high:
            quality = (low + high + 1) // 2
            data = self._at(image, quality)
            if len(data) <= self.config.bytes_per_image:
                low, best = quality, data
            else:
                high = quality - 1
        return best

    def _at(self, image: Image.Image, quality: int) -> bytes:
        stream = io.BytesIO()
        if self.config.codec == "webp":
            image.save(stream, "WEBP", quality=quality, method=6)
        else:
            image.save(stream, "JPEG", quality=max(quality, 1), optimize=True, subsampling="4:2:0")
        return stream.getvalue()


def parse_anchor(name: str) -> Anchor | None:
    """Build the anchor a name stands for, e.g. ``anchor/webp-320``; None if the name is no anchor's.

    Raises:
        TokbenchError: If it begins like one but is none.
    """
    if not name.startswith("anchor/"):
        return None
    match = PATTERN.fullmatch(name)
    if match is None or len(match[2]) > 8 or not 1 <= int(match[2]) <= 10_000_000:
        raise TokbenchError(f"unknown anchor {name[:60]!r}; allowed: anchor/webp-BYTES and anchor/jpeg-BYTES, e.g. anchor/webp-320")
    codec: Literal["webp", "jpeg"] = "webp" if match[1] == "webp" else "jpeg"
    return Anchor(AnchorConfig(codec, int(match[2])))
