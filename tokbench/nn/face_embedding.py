"""The network that compares faces: a residual network whose vectors of one person lie within 0.6 of each other.

King 2017, the face recognition network of dlib ("dlib_face_recognition_resnet_model_v1", a ResNet of 29 convolutions), as face-api
carries it:

    pixels 0..255 [B, 3, 150, 150] -> minus mean, / 255 -> 7x7 / 2, pool / 2 -> 4 blocks of 32
      -> 4 of 64 -> 3 of 128 -> 3 of 256 -> 1 of 256, the first of each halves -> mean over positions -> 128 numbers
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from tokbench.shapes import shapes_only

INPUT_SIZE = 150
"""Side of its input in pixels."""

DIM = 128
"""Numbers in a vector."""

MEAN_RGB = (122.782, 117.001, 104.298)

BLOCKS = {
    "conv32": ("1", "2", "3"),
    "conv64": ("down", "1", "2", "3"),
    "conv128": ("down", "1", "2"),
    "conv256": ("down", "1", "2", "down_out"),
}
"""Blocks by the names of the weights file, in order; those that begin with ``down`` halve the side."""


class _Block(nn.Module):
    """Two convolutions and a way around them; where it halves the side, the way around is a mean pool, widened with zeros."""

    def __init__(self, channels_in: int, channels: int, *, halves: bool) -> None:
        super().__init__()
        self.halves, self.widens = halves, channels - channels_in
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=2, padding=0) if halves else nn.Conv2d(channels_in, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        y = self.conv2(F.relu(self.conv1(x)))
        if self.halves:
            x = F.pad(F.avg_pool2d(x, 2), (0, 0, 0, 0, 0, self.widens))
            y = F.pad(y, (0, x.shape[3] - y.shape[3], 0, x.shape[2] - y.shape[2]))  # an even side leaves it one short
        return F.relu(x + y)


class FaceEmbedder(nn.Module):
    """The network; its affine layers are part of the convolutions before them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv32_down = nn.Conv2d(3, 32, 7, stride=2)
        channels = 32
        blocks: dict[str, nn.Module] = {}
        for stage, names in BLOCKS.items():
            width = int(stage.removeprefix("conv"))
            for name in names:
                blocks[f"{stage}_{name}"] = _Block(channels, width, halves=name.startswith("down"))
                channels = width
        self.blocks = nn.ModuleDict(blocks)
        self.fc = nn.Linear(channels, DIM, bias=False)

    def forward(self, pixels: Float[Tensor, "b 3 150 150"]) -> Float[Tensor, "b 128"]:
        """Vectors of faces.

        Args:
            pixels: One face each, RGB in 0..255, filling the picture.

        Returns:
            Vectors to be compared by their Euclidean distance.
        """
        x = (pixels - _mean(pixels.device)) / 255.0
        x = F.max_pool2d(F.relu(self.conv32_down(x)), 3, stride=2)
        for block in self.blocks.values():
            x = block(x)
        return self.fc(x.mean(dim=(2, 3)))


def as_input(images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 150 150"]:
    """Scale pictures that a face fills to the network's input (bilinear, antialiased)."""
    return F.interpolate(images.float(), size=(INPUT_SIZE, INPUT_SIZE), mode="bilinear", antialias=True, align_corners=False)


@cache
def _mean(device: torch.device) -> Float[Tensor, "3 1 1"]:
    with torch.inference_mode(False):  # what is kept may meet gradients later
        return torch.tensor(MEAN_RGB, device=device)[:, None, None]


def build_face_embedder(weights: Mapping[str, Tensor]) -> FaceEmbedder:
    """Build the network around the weights of face-api, frozen and in evaluation mode.

    Args:
        weights: By the names of the weights file: filters ``[h, w, in, out]`` and biases of convolutions, each followed by a scale.

    Raises:
        RuntimeError: If a name or a shape is missing, unknown or wrong.
    """
    state = {"fc.weight": weights["fc"].T}
    for key in (key.removesuffix("/conv/filters") for key in weights if key.endswith("/conv/filters")):
        scale = weights[f"{key}/scale/weights"]
        name = key.replace("/", ".") if key == "conv32_down" else f"blocks.{key.replace('/', '.')}"
        state[f"{name}.weight"] = weights[f"{key}/conv/filters"].permute(3, 2, 0, 1) * scale[:, None, None, None]
        state[f"{name}.bias"] = weights[f"{key}/conv/bias"] * scale + weights[f"{key}/scale/biases"]
    with shapes_only():
        module = FaceEmbedder()
    module.load_state_dict({key: value.contiguous() for key, value in state.items()}, assign=True)
    return module.eval().requires_grad_(False)
