"""DISTS, a distance of structure and texture, on given weights.

Paper: Ding et al. 2020, "Image Quality Assessment: Unifying Structure and Texture Similarity".

    images [0, 1] -> VGG16 whose maxima are replaced by smooth pooling -> the images and 5 feature maps, 1475 channels in all
    distance = sum over channels of  alpha (1 - likeness of means) + beta (1 - likeness of variations)

The weights alpha and beta are learned, at least 0, and sum to 1.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.nn.perceptual import CONVOLUTIONS

CHANNELS = (3, 64, 128, 256, 512, 512)
"""Channels of the images and of the five maps."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

STABILISER = 1e-6
"""Added above and below each fraction."""


class Dists(nn.Module):
    """The network: convolutions of VGG16, and the weight of every channel.

    Args:
        alpha: Weights of means, ``[1475]``.
        beta: Weights of variations, ``[1475]``.
    """

    mean: Tensor
    std: Tensor
    window: Tensor

    def __init__(self, alpha: Tensor, beta: Tensor) -> None:
        super().__init__()
        widths = (CHANNELS[0], *(CHANNELS[part] for part, _ in CONVOLUTIONS["vgg"]))
        self.convolutions = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths))
        hann = torch.tensor([0.5, 1.0, 0.5])
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).reshape(1, 3, 1, 1))
        self.register_buffer("window", (hann[:, None] * hann / hann.sum() ** 2)[None, None])
        total = alpha.double().sum() + beta.double().sum()
        self.weights = torch.stack([alpha.double().flatten(), beta.double().flatten()]) / total  # no buffer: some devices have no doubles

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        """The images, in [0, 1], and their five maps."""
        x, maps, level = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last), [images], 1
        for (part, _), convolution in zip(CONVOLUTIONS["vgg"], self.convolutions, strict=True):
            if part != level:
                maps.append(x)
                x, level = self._pooled(x), part
            x = F.relu(convolution(x))
        return [*maps, x]

    def weights_at(self, device: torch.device) -> Tensor:
        """The weights on a device with doubles; they are sent there once."""
        if self.weights.device != device:
            self.weights = self.weights.to(device)
        return self.weights

    def _pooled(self, x: Tensor) -> Tensor:
        """Half the size: root of the mean square under a window of three by three."""
        window = self.window.expand(x.shape[1], -1, -1, -1)
        return (F.conv2d(x.square(), window, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


def build_dists(vgg: dict[str, Tensor], alpha: Tensor, beta: Tensor) -> Dists:
    """Build the network around given weights, frozen, in evaluation mode and laid out channels last.

    Args:
        vgg: What ``build_lpips`` takes for VGG16, whose convolutions are the same.
        alpha: Weights of means, ``[1, 1475, 1, 1]``.
        beta: Weights of variations, of the same shape.

    Raises:
        ValueError: If there are not as many weights as channels.
    """
    if alpha.numel() != sum(CHANNELS) or beta.numel() != sum(CHANNELS):
        raise ValueError(f"DISTS has {sum(CHANNELS)} weights of each kind, got {alpha.numel()} and {beta.numel()}")
    module = Dists(alpha, beta)
    for convolution, (part, layer) in zip(module.convolutions, CONVOLUTIONS["vgg"], strict=True):
        convolution.load_state_dict({kind: vgg[f"net.slice{part}.{layer}.{kind}"].float() for kind in ("weight", "bias")})
    return module.to(memory_format=torch.channels_last).eval().requires_grad_(False)


@torch.no_grad()
def dists_rows(module: Dists, a: Tensor, b: Tensor) -> Tensor:
    """DISTS of each pair, compared one pair at a time: batched, means round differently with other pairs beside them.

    Args:
        module: What ``build_dists`` returned.
        a: ``[B, 3, H, W]`` in [0, 1].
        b: Images of the same shape.

    Returns:
        Distances ``[B]``, float64; exactly 0 of an image and itself.
    """
    if len(a) > 1 and a.device.type == "cpu":  # its maps are large: no two pairs beside each other
        return torch.cat([dists_rows(module, *pair) for pair in zip(a.split(1), b.split(1), strict=True)])
    maps_a, maps_b = module(a), module(b)
    rows = []
    for i in range(len(a)):
        parts = [_unlikeness(x[i], y[i]) for x, y in zip(maps_a, maps_b, strict=True)]
        unlike = torch.stack([torch.cat(part) for part in zip(*parts, strict=True)])
        rows.append((module.weights_at(unlike.device) * unlike).sum())
    return torch.stack(rows)


def _unlikeness(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """How unlike the means and the variations of two maps ``[C, h, w]`` are, ``[C]`` each."""
    x, y = ((side.cpu() if side.device.type == "mps" else side).double().flatten(1) for side in (a, b))
    mean_x, mean_y = x.mean(dim=1), y.mean(dim=1)
    x, y = x - mean_x[:, None], y - mean_y[:, None]
    squares = x.square().mean(dim=1) + y.square().mean(dim=1)
    means = (mean_x - mean_y).square() / (mean_x.square() + mean_y.square() + STABILISER)
    return means, (squares - 2 * (x * y).mean(dim=1)) / (squares + STABILISER)
