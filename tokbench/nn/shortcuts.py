"""Shortcuts without weights around layers that change size and width: groups of channels averaged, or channels repeated.

Source: Chen et al. 2024, "Deep Compression Autoencoder for Efficient High-Resolution Diffusion Models", section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.nn import autoencoder


def averaged(x: Float[Tensor, "b c h w"], channels: int) -> Float[Tensor, "b d h w"]:
    """Average neighbouring channels, so that ``channels`` are left, which must divide those there are."""
    return x.unflatten(1, (channels, -1)).mean(dim=2)


def repeated(x: Float[Tensor, "b c h w"], channels: int) -> Float[Tensor, "b d h w"]:
    """Repeat every channel, so that there are ``channels``, a multiple of those there are."""
    return x.repeat_interleave(channels // x.shape[1], dim=1)


def after_nothing(x: Float[Tensor, "b c h w"], squares: int) -> Float[Tensor, "b d h w"]:
    """Channels ``(c square)`` of one frame as ``(c time square)`` of two, the first of them zeros: a clip is padded in front."""
    channels = x.unflatten(1, (-1, 1, squares))
    return torch.cat([torch.zeros_like(channels), channels], dim=2).flatten(1, 3)


class Level(autoencoder.Level):
    """Residual blocks of one resolution and the step to the next, with a shortcut around all of them or none; not by strips.

    Args:
        inputs: Channels it takes.
        outputs: Width of its blocks.
        blocks: How many there are.
        groups: Groups of their normalisation, see ``tokbench.nn.autoencoder``.
        step: Changes the size; None at the last level.
        shortcut: From the level's input to what is added to its output, of the same shape.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        blocks: int,
        groups: int,
        *,
        step: nn.Module | None = None,
        shortcut: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(inputs, outputs, blocks, groups)
        self.step, self.shortcut = step, shortcut

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Transform features, and change their size on the way to the next level."""
        h = super().forward(x)
        h = h if self.step is None else self.step(h)
        return h if self.shortcut is None else h + self.shortcut(x)

    def infer(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Transform a large map, whole."""
        return self(x)
