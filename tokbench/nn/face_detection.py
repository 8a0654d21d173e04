"""The network that finds faces: the tiny YOLO of face-api, on depthwise separable convolutions.

pixels 0..255 [1, 3, S, S] -> minus mean, / 255 -> 3x3, then 5 separable 3x3, each with a 2x2 pool between -> 1x1
  -> for each of (S / 32)^2 cells and 5 anchors: centre, size, score
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import nms

from tokbench.shapes import shapes_only

STRIDE = 32
"""Pixels a cell."""

MEAN_RGB = (117.001, 114.697, 97.404)
WIDTHS = (3, 16, 32, 64, 128, 256, 512)
ANCHORS = ((1.603231, 2.094468), (6.041143, 7.080126), (2.882459, 3.518061), (4.266906, 5.178857), (9.041765, 10.66308))
"""Width and height in cells."""

SLOPE = 0.10000000149011612
MAX_OVERLAP = 0.4
"""Intersection over union above which the less certain of two boxes is dropped."""


class FaceBox(NamedTuple):
    """A face found: how certain it is, and its rectangle in pixels of the network's input."""

    score: float
    left: float
    top: float
    right: float
    bottom: float


class _Separable(nn.Module):
    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels_in, channels_in, 3, padding=1, groups=channels_in, bias=False)
        self.pointwise = nn.Conv2d(channels_in, channels, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        return F.leaky_relu(self.pointwise(self.depthwise(x)), SLOPE)


class FaceDetector(nn.Module):
    """The network, with the decoding of its answer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(WIDTHS[0], WIDTHS[1], 3)
        self.rest = nn.ModuleList(_Separable(a, b) for a, b in pairwise(WIDTHS[1:]))
        self.last = nn.Conv2d(WIDTHS[-1], 5 * len(ANCHORS), 1)

    def forward(self, pixels: Float[Tensor, "1 3 s s"]) -> Float[Tensor, "cells anchors 5"]:
        """The raw answer: for each cell, row by row, and anchor the logits of x and y, the logs of width and height, the logit of the score.

        Args:
            pixels: A picture, RGB in 0..255; its side is a multiple of ``STRIDE``.
        """
        x = (pixels - pixels.new_tensor(MEAN_RGB)[:, None, None]) / 255.0
        x = F.leaky_relu(self.first(x), SLOPE)
        for layer in self.rest:
            x = layer(F.max_pool2d(x, 2, ceil_mode=True))
        x = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-torch.inf), 2, stride=1)
        return self.last(x)[0].permute(1, 2, 0).reshape(-1, len(ANCHORS), 5)

    @torch.no_grad()
    def find(self, pixels: Float[Tensor, "1 3 s s"], *, min_score: float) -> list[FaceBox]:
        """Find faces.

        Args:
            pixels: As for ``forward``.
            min_score: 0 to 1.

        Returns:
            The most certain first; they may reach over the edges.
        """
        raw = self(pixels)
        cells = pixels.shape[-1] // STRIDE
        scores = raw[..., 4].sigmoid()
        corner = torch.stack(torch.meshgrid(torch.arange(cells), torch.arange(cells), indexing="xy"), dim=-1).reshape(-1, 1, 2)
        centre = corner + raw[..., :2].sigmoid()
        half = raw[..., 2:4].exp() * raw.new_tensor(ANCHORS) / 2
        boxes = torch.cat([centre - half, centre + half], dim=-1) * STRIDE
        kept = scores > min_score
        boxes, scores = boxes[kept], scores[kept]
        best = nms(boxes, scores, MAX_OVERLAP)
        return [FaceBox(score, *box) for score, box in zip(scores[best].tolist(), boxes[best].tolist(), strict=True)]


def build_face_detector(weights: Mapping[str, Tensor]) -> FaceDetector:
    """Build the network around the weights of face-api, frozen and in evaluation mode.

    Args:
        weights: By the names of the weights file, filters ``[h, w, in, out]``.

    Raises:
        RuntimeError: If a name or a shape is missing, unknown or wrong.
    """
    state = {}
    for key, value in weights.items():
        layer, _, kind = key.partition("/")
        place = {"conv0": "first", "conv8": "last"}.get(layer, f"rest.{int(layer.removeprefix('conv')) - 1}")
        if kind == "depthwise_filter":
            state[f"{place}.depthwise.weight"] = value.permute(2, 3, 0, 1)
        elif kind in ("filters", "pointwise_filter"):
            state[f"{place}{'.pointwise' if kind == 'pointwise_filter' else ''}.weight"] = value.permute(3, 2, 0, 1)
        else:
            state[f"{place}{'.pointwise' if place.startswith('rest') else ''}.{kind}"] = value
    with shapes_only():
        module = FaceDetector()
    module.load_state_dict({key: value.contiguous() for key, value in state.items()}, assign=True)
    return module.eval().requires_grad_(False)
