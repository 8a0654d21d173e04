"""What the Inception network of FID is given of an image: implementations scale it to 299 px, and to about [-1, 1], each in its own way.

| implementation | scaled to 299 px by | range |
|---|---|---|
| torch-fidelity, and TensorFlow's graph in ADM's evaluator | TF1's bilinear, which begins at the corner | (x - 128) / 128 |
| torchmetrics | bilinear, half a pixel on, widened where it scales down | (x - 128) / 128 |
| pytorch-fid | bilinear, half a pixel on | x / 127.5 - 1 |
| clean-fid | bicubic, widened where it scales down, cut to 0..255 and not rounded | (x - 128) / 128 |
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from tokbench.nn.tf1_resize import tf1_bilinear
from tokbench.records.protocol import FidResize, FidScaling

FID_SIZE = 299
"""Side of what Inception is given, in pixels."""


@dataclass(frozen=True)
class InceptionInput:
    """How images are made what the network is given.

    Args:
        resize: How they are scaled to 299 px.
        scaling: What becomes of values from 0 to 255.
    """

    resize: FidResize = "TF1 bilinear to 299"
    scaling: FidScaling = "(x - 128) / 128"

    def __call__(self, images: Float[Tensor, "b 3 h w"]) -> Float32[Tensor, "b 3 299 299"]:
        """Scale images in size and range.

        Args:
            images: Values from 0 to 255; bytes as floats, or floats that never were bytes.
        """
        return fid_scaled(fid_resized(images.float(), self.resize), self.scaling)

    def of_size(self, height: int, width: int) -> str:
        """What the network is given of images of a size, in words: images of 299 px are scaled alike by all."""
        return self.scaling if (height, width) == (FID_SIZE, FID_SIZE) else f"{self.resize}, {self.scaling}"


BACKENDS = {
    "torch-fidelity": InceptionInput(),
    "torchmetrics": InceptionInput("bilinear antialias to 299"),
    "pytorch-fid": InceptionInput("bilinear to 299", "x / 127.5 - 1"),
    "clean-fid": InceptionInput("bicubic antialias to 299"),
}
"""What implementations give the network, by their names."""


def fid_resized(images: Float32[Tensor, "b 3 h w"], how: FidResize) -> Float32[Tensor, "b 3 s s"]:
    """Resize to 299 px.

    Args:
        images: Values from 0 to 255.
        how: ``TF1 bilinear`` is that of TensorFlow's graph and of torch-fidelity, ``bilinear`` that of pytorch-fid, ``bilinear
            antialias`` the default of torchmetrics, ``bicubic antialias`` that of clean-fid, which clips what overshoots.

    Raises:
        ValueError: If there is no such way.
    """
    size = (FID_SIZE, FID_SIZE)
    if how == "TF1 bilinear to 299":
        return tf1_bilinear(images, FID_SIZE)
    if how == "bicubic antialias to 299":
        exact = images if images.device.type == "mps" else images.double()  # as PIL's weights are; some devices have no doubles
        return F.interpolate(exact, size=size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 255).to(images.dtype)
    if how not in ("bilinear to 299", "bilinear antialias to 299"):
        raise ValueError(f"there is no resize {how!r}")
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias="antialias" in how)


def fid_scaled(images: Float32[Tensor, "b 3 h w"], how: FidScaling) -> Float32[Tensor, "b 3 h w"]:
    """Map values from 0 to 255 to about [-1, 1]."""
    return (images - 128).div_(128) if how == "(x - 128) / 128" else (images / 127.5).sub_(1)
