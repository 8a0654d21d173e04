"""Blocks of the Inception network of FID, computed with less work than they are written down with.

Its blocks average 3x3 neighbours and then convolve place by place. Both are linear, and of the average only neighbours inside the map are
counted. So the convolution may come first, which leaves a quarter of the channels or fewer to average, and ReLU after both.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor, nn

from tokbench.nn.folding import fold_norms
from tokbench.nn.packed import by_few

BRANCHES: dict[str, tuple[tuple[str, ...], ...]] = {
    "InceptionA": (("branch1x1",), ("branch5x5_1", "branch5x5_2"), ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")),
    "InceptionC": (
        ("branch1x1",),
        ("branch7x7_1", "branch7x7_2", "branch7x7_3"),
        ("branch7x7dbl_1", "branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5"),
    ),
    "InceptionE_1": (
        ("branch1x1",),
        ("branch3x3_1", "branch3x3_2a branch3x3_2b"),
        ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3a branch3x3dbl_3b"),
    ),
}
"""Layers of torch-fidelity's blocks that average, by their class, in the order of their outputs; some branches end in two."""

STEM = 4
"""Its first convolutions and their pooling, whose maps are of 147 px and more."""


class ConvolvedFirst(nn.Module):
    """A block that averages after it has convolved.

    Args:
        block: One of torch-fidelity, which is taken over; normalisation folded into its convolutions.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        block.branch_pool = block.get_submodule("branch_pool.conv")  # without the ReLU, which now comes after averaging
        self.block: Any = block
        self.branches = BRANCHES[type(block).__name__]

    def forward(self, x: Float32[Tensor, "b c h w"]) -> Float32[Tensor, "b d h w"]:
        """What the block makes of feature maps, but for rounding."""
        found = []
        for *before, last in self.branches:
            y = x
            for name in before:
                y = getattr(self.block, name)(y)
            found += [getattr(self.block, name)(y) for name in last.split()]
        pooled = F.avg_pool2d(self.block.branch_pool(x), kernel_size=3, stride=1, padding=1, count_include_pad=False)
        return torch.cat([*found, F.relu_(pooled)], dim=1)


class FewAtOnce(nn.Module):
    """Layers whose feature maps are the largest, on two images at once where a processor runs them.

    Args:
        layers: What computes an image alike with any others beside it.
    """

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Float32[Tensor, "b c h w"]) -> Float32[Tensor, "b d h2 w2"]:
        """What the layers make of all images."""
        return by_few(self.layers, x, count=2)


def lean(layers: Iterable[nn.Module]) -> nn.Sequential:
    """A trunk of torch-fidelity's layers that computes the same with less work, but for rounding.

    Args:
        layers: In the order they run in; taken over, and changed.
    """
    trunk = nn.Sequential(*layers)
    fold_norms(trunk)
    _spell_out(trunk)
    made = [ConvolvedFirst(layer) if type(layer).__name__ in BRANCHES else layer for layer in trunk]
    return nn.Sequential(FewAtOnce(nn.Sequential(*made[:STEM])), *made[STEM:])


def _spell_out(model: nn.Module) -> None:
    """Write convolutions with a ReLU as two modules, which may then run as one."""
    for name, child in list(model.named_children()):
        if type(child).__name__ == "BasicConv2d":
            setattr(model, name, nn.Sequential(OrderedDict(conv=child.get_submodule("conv"), relu=nn.ReLU(inplace=True))))
        else:
            _spell_out(child)
