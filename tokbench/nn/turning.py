"""Turns of queries and keys by places on a plane, in directions that are learned for every head of every block.

    column, row -- frequencies of column and row, summed --> an angle a pair of channels -- turns queries and keys of a patch

Paper: Heo et al., "Rotary Position Embedding for Vision Transformer", 2024 (RoPE-Mixed).
"""

from __future__ import annotations

import math

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.nn.configs import ViTConfig
from tokbench.nn.mmdit import Rotation, rotate
from tokbench.nn.vit import Turn

BASE = 10.0
"""Before training, the slowest frequencies of a head are almost so many times slower than the fastest, which are 1."""


class LearnedTurns(nn.Module):
    """Turns of the patches of a square among other tokens, which stay as they are.

    Args:
        config: Blocks, heads and width of the transformer; a head has a multiple of 4 channels.
        side: Patches along each axis.
        before: Tokens before the patches, which are in raster order.
    """

    def __init__(self, config: ViTConfig, side: int, before: int) -> None:
        super().__init__()
        self.side, self.before, self.heads = side, before, config.heads
        quarter = config.width // config.heads // 4
        falling = BASE ** (-torch.arange(quarter) / quarter)
        start = 2 * math.pi * torch.rand(config.depth, config.heads, 1)
        angles = torch.stack([start, start + math.pi / 2])  # two directions a head, square to each other
        towards = torch.stack([angles.cos(), angles.sin()]) * falling
        self.frequencies = nn.Parameter(rearrange(towards, "way two depth heads quarter -> way depth (heads two quarter)"))

    def forward(self) -> list[Turn]:
        """Turns of every block; angles are taken in single precision."""
        places = torch.arange(self.side, device=self.frequencies.device, dtype=torch.float32)
        columns, rows = places.repeat(self.side), places.repeat_interleave(self.side)
        plane = torch.stack([columns, rows])
        angles = einsum(plane, self.frequencies.float(), "way n, way depth c -> depth n c")
        by_head = rearrange(angles, "depth n (heads d) -> depth heads n d", heads=self.heads)
        return [self._turn(Rotation(block.cos(), block.sin())) for block in by_head]

    def _turn(self, by: Rotation) -> Turn:
        def turn(x: Float[Tensor, "b heads n d"]) -> Float[Tensor, "b heads n d"]:
            count = self.side**2
            before, patches, after = x.split([self.before, count, x.shape[2] - self.before - count], dim=2)
            return torch.cat([before, rotate(patches, by), after], dim=2)

        return turn
