"""What encode returns and decode takes: discrete codes or continuous latents, validated at birth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tokbench.tracing import graph_value, traced


def _check_grid(grid: tuple[int, ...], positions: int) -> None:
    if not isinstance(grid, tuple) or not grid or any(not isinstance(n, int) or n < 1 for n in grid):
        raise ValueError(f"grid must be a tuple of positive ints, got {grid!r}")
    if math.prod(grid) != positions:
        raise ValueError(f"grid {grid} has {math.prod(grid)} positions, the tokens have {positions}")


@graph_value
@dataclass(frozen=True)
class DiscreteTokens:
    """A batch of images as codebook entries.

    Args:
        codes: Position major, codebook last; ``0 <= codes[..., k] < codebook_sizes[k]``.
        grid: ``(h, w)`` in raster order, or ``(n,)`` for a 1D sequence; its product is L.
        codebook_sizes: K sizes.

    Raises:
        ValueError: If dtype, shape, grid or code range do not fit together.
    """

    codes: Int64[Tensor, "b l k"]
    grid: tuple[int, ...]
    codebook_sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        codes = self.codes
        if not isinstance(codes, Tensor) or codes.dtype != torch.int64 or codes.ndim != 3:
            raise ValueError(f"codes must be an int64 tensor [B, L, K], got {_describe(codes)}")
        _check_grid(self.grid, codes.shape[1])
        if len(self.codebook_sizes) != codes.shape[2]:
            raise ValueError(f"codes have {codes.shape[2]} codebooks, codebook_sizes names {len(self.codebook_sizes)}")
        if not traced() and codes.numel():
            low, high = codes.amin(dim=(0, 1)).tolist(), codes.amax(dim=(0, 1)).tolist()
            for k, size in enumerate(self.codebook_sizes):
                if low[k] < 0 or high[k] >= size:
                    raise ValueError(f"codes of codebook {k} range over {low[k]}..{high[k]}, allowed is 0..{size - 1}")

    def __len__(self) -> int:
        return self.codes.shape[0]

    def first(self, count: int) -> DiscreteTokens:
        """The tokens of the first ``count`` images."""
        return DiscreteTokens(self.codes[:count], self.grid, self.codebook_sizes)


@graph_value
@dataclass(frozen=True)
class ContinuousTokens:
    """A batch of images as real vectors.

    Args:
        latents: One vector per position.
        grid: ``(h, w)`` in raster order, or ``(n,)`` for a 1D sequence; its product is L.

    Raises:
        ValueError: If dtype, shape or grid do not fit together.
    """

    latents: Float[Tensor, "b l c"]
    grid: tuple[int, ...]

    def __post_init__(self) -> None:
        latents = self.latents
        if not isinstance(latents, Tensor) or not latents.is_floating_point() or latents.ndim != 3:
            raise ValueError(f"latents must be a float tensor [B, L, C], got {_describe(latents)}")
        _check_grid(self.grid, latents.shape[1])

    def __len__(self) -> int:
        return self.latents.shape[0]

    def first(self, count: int) -> ContinuousTokens:
        """The tokens of the first ``count`` images."""
        return ContinuousTokens(self.latents[:count], self.grid)


Tokens = DiscreteTokens | ContinuousTokens


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return type(value).__name__
