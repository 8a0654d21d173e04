"""Frozen convolutional networks as they run fastest: normalisation folded into the convolutions before it, channels last, packed."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tokbench.nn.packed import packed


def frozen(model: nn.Module, device: torch.device) -> nn.Module:
    """Prepare a network for evaluation alone, on its device for good; its outputs stay the same but for rounding.

    Every ``BatchNorm2d`` must run on the output of the convolution that its parent holds right before it, as networks of ``timm`` and
    ``torchvision`` do.

    Args:
        model: The network; its modules are replaced in place.
        device: Where it will run.
    """
    fold_norms(model.eval())
    return packed(model.to(device).to(memory_format=torch.channels_last).requires_grad_(False))


def fold_norms(model: nn.Module) -> None:
    """Fold normalisations into the convolutions before them, in place. The activation that one of ``timm`` holds stays."""
    children = list(model.named_children())
    for (name, first), (norm_name, second) in pairwise(children):
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d) and first.out_channels == second.num_features:
            setattr(model, name, fuse_conv_bn_eval(first, second))
            setattr(model, norm_name, nn.Sequential(*second.children()))  # nothing, but for normalisations with an activation
    for _, child in children:
        fold_norms(child)
