"""What encode returns and decode takes: discrete codes or continuous latents, validated at birth."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tokbench.granted import require
from tokbench.tracing import graph_value, traced


def _check_grid(grid: tuple[int, ...], positions: int) -> None:
    if not isinstance(grid, tuple) or not grid or any(not isinstance(n, int) or n < 1 for n in grid):
        raise ValueError(f"grid must be a tuple of positive ints, got {grid!r}")
    if math.prod(grid) != positions:
        raise ValueError(f"grid {grid} has {math.prod(grid)} positions, the tokens have {positions}")


def _check_image_size(size: tuple[int, int] | None) -> None:
    if size is not None and (len(size) != 2 or any(not isinstance(n, int) or n < 1 for n in size)):
        raise ValueError(f"image_size must be two positive ints or None, got {size!r}")


@graph_value
@dataclass(frozen=True)
class DiscreteTokens:
    """A batch of images as codebook entries.

    Args:
        codes: Position major, codebook last; ``0 <= codes[..., k] < codebook_sizes[k]``.
        grid: ``(h, w)`` in raster order, or ``(n,)`` for a 1D sequence; its product is L.
        codebook_sizes: K sizes.
        image_size: Height and width to which ``decode`` cuts images, where they were padded to be encoded; None cuts nothing.

    Raises:
        ValueError: If dtype, shape, grid or code range do not fit together, or the image size is not positive.
    """

    codes: Int64[Tensor, "b l k"]
    grid: tuple[int, ...]
    codebook_sizes: tuple[int, ...]
    image_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        codes = self.codes
        if not isinstance(codes, Tensor) or codes.dtype != torch.int64 or codes.ndim != 3:
            raise ValueError(f"codes must be an int64 tensor [B, L, K], got {_describe(codes)}")
        _check_grid(self.grid, codes.shape[1])
        _check_image_size(self.image_size)
        if len(self.codebook_sizes) != codes.shape[2]:
            raise ValueError(f"codes have {codes.shape[2]} codebooks, codebook_sizes names {len(self.codebook_sizes)}")
        if not traced() and codes.numel():
            require(_in_range(codes, self.codebook_sizes), lambda: _out_of_range(codes, self.codebook_sizes))

    def __len__(self) -> int:
        return self.codes.shape[0]

    def __getitem__(self, images: int | slice) -> DiscreteTokens:
        """Take the tokens of some images, a batch also of one: ``tokens[0]`` is ``tokens[:1]``.

        Raises:
            IndexError: If there is no such image.
        """
        return replace(self, codes=self.codes[_as_slice(images, len(self))])

    def prefix(self, length: int) -> DiscreteTokens:
        """Take the first tokens of every image's sequence; ``TokenLayout.lengths`` says how many a tokenizer decodes.

        Raises:
            ValueError: If the tokens lie on a grid of two axes, or are not so many.
        """
        _check_prefix(self.grid, length)
        return replace(self, codes=self.codes[:, :length], grid=(length,))

    @property
    def code_map(self) -> Int64[Tensor, " b *grid"]:
        """The codes of one codebook on their grid: a view ``[B, H, W]``, of a sequence ``[B, L]``.

        Raises:
            ValueError: If there are several codebooks.
        """
        if len(self.codebook_sizes) != 1:
            raise ValueError(f"the tokens have {len(self.codebook_sizes)} codebooks, a map has one; take codes[..., k]")
        return self.codes.squeeze(2).unflatten(1, self.grid)

    def to(self, device: torch.device | str) -> DiscreteTokens:
        """Copy to a device, unless they are there."""
        return replace(self, codes=self.codes.to(device))


@graph_value
@dataclass(frozen=True)
class ContinuousTokens:
    """A batch of images as real vectors.

    Args:
        latents: One vector per position.
        grid: ``(h, w)`` in raster order, or ``(n,)`` for a 1D sequence; its product is L.
        image_size: Height and width to which ``decode`` cuts images, where they were padded to be encoded; None cuts nothing.

    Raises:
        ValueError: If dtype, shape or grid do not fit together, or the image size is not positive.
    """

    latents: Float[Tensor, "b l c"]
    grid: tuple[int, ...]
    image_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        latents = self.latents
        if not isinstance(latents, Tensor) or not latents.is_floating_point() or latents.ndim != 3:
            raise ValueError(f"latents must be a float tensor [B, L, C], got {_describe(latents)}")
        _check_grid(self.grid, latents.shape[1])
        _check_image_size(self.image_size)

    def __len__(self) -> int:
        return self.latents.shape[0]

    def __getitem__(self, images: int | slice) -> ContinuousTokens:
        """Take the tokens of some images, a batch also of one: ``tokens[0]`` is ``tokens[:1]``.

        Raises:
            IndexError: If there is no such image.
        """
        return replace(self, latents=self.latents[_as_slice(images, len(self))])

    def prefix(self, length: int) -> ContinuousTokens:
        """Take the first tokens of every image's sequence; ``TokenLayout.lengths`` says how many a tokenizer decodes.

        Raises:
            ValueError: If the tokens lie on a grid of two axes, or are not so many.
        """
        _check_prefix(self.grid, length)
        return replace(self, latents=self.latents[:, :length], grid=(length,))

    def to(self, target: torch.device | torch.dtype | str) -> ContinuousTokens:
        """Copy to a device or a floating-point type, unless they are so already."""
        return replace(self, latents=self.latents.to(target))


Tokens = DiscreteTokens | ContinuousTokens


def _in_range(codes: Int64[Tensor, "b l k"], sizes: tuple[int, ...]) -> Tensor:
    """Whether all codes are such of their codebooks, as a truth value where the codes are."""
    parts = [codes] if len(set(sizes)) == 1 else list(codes.unbind(dim=2))  # sizes as a tensor would have to be sent there
    return torch.stack([((part >= 0) & (part < size)).all() for part, size in zip(parts, sizes, strict=False)]).all()


def _out_of_range(codes: Int64[Tensor, "b l k"], sizes: tuple[int, ...]) -> ValueError:
    low, high = codes.amin(dim=(0, 1)).tolist(), codes.amax(dim=(0, 1)).tolist()
    k, size = next((k, size) for k, size in enumerate(sizes) if low[k] < 0 or high[k] >= size)
    return ValueError(f"codes of codebook {k} range over {low[k]}..{high[k]}, allowed is 0..{size - 1}")


def _as_slice(images: int | slice, count: int) -> slice:
    if isinstance(images, slice):
        return images
    place = range(count)[images]  # an IndexError ends the loop of those who iterate
    return slice(place, place + 1)


def _check_prefix(grid: tuple[int, ...], length: int) -> None:
    if len(grid) != 1 or not 1 <= length <= grid[0]:
        raise ValueError(f"a prefix is of 1 to all tokens of a sequence, got {length} of a grid {grid}")


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return type(value).__name__
