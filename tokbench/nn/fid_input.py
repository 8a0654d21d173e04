"""What networks of Fréchet distances are given: bytes or floats of any size, resized as one of the implementations of FID does."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor

from tokbench.nn.tf1_resize import tf1_bilinear

FidResize = Literal["TF1 bilinear to 299", "bilinear to 299", "bilinear antialias to 299", "bicubic antialias to 299"]
FidScaling = Literal["(x - 128) / 128", "x / 127.5 - 1"]

FID_SIZE = 299


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
    return (images - 128) / 128 if how == "(x - 128) / 128" else images / 127.5 - 1
