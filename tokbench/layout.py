"""The shape of a tokenizer's output for one image, and the bit counts that follow from it; no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

from tokbench.configs import UNLESS_DEFAULT
from tokbench.errors import TokbenchError


@dataclass(frozen=True)
class TokenLayout:
    """How many tokens an image becomes, on what grid, over which codebooks.

    Args:
        image_size: Height and width of the image in pixels.
        grid: ``(h, w)`` in raster order for 2D tokens, ``(n,)`` for a 1D sequence.
        codebook_sizes: Entries of each codebook; empty for continuous latents.
        channels: Values per position of continuous latents; 0 for discrete tokens.
        scales: Sides of the square maps that a sequence runs through, coarse to fine, each in raster order; empty if it is not of such.
            Heights, where maps are not square.
        widths: Widths of these maps, where they are not square.
        lengths: How many of a sequence's first positions an image can be decoded from, rising to all of them; empty if it takes all.
        padding: Rows below and columns right of an image that stand for no pixels of it. They are copies of its last ones, encoded with
            it and cut off when it is decoded.

    Raises:
        ValueError: If a size is not positive, padding is negative, or both or neither of codebooks and channels are given. If scales or lengths are not those
            of the grid.
    """

    image_size: tuple[int, int]
    grid: tuple[int, ...]
    codebook_sizes: tuple[int, ...] = ()
    channels: int = 0
    scales: tuple[int, ...] = field(default=(), metadata=UNLESS_DEFAULT)
    lengths: tuple[int, ...] = field(default=(), metadata=UNLESS_DEFAULT)
    padding: tuple[int, int] = field(default=(0, 0), metadata=UNLESS_DEFAULT)
    widths: tuple[int, ...] = field(default=(), metadata=UNLESS_DEFAULT)

    def __post_init__(self) -> None:
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise ValueError(f"image_size must be two positive numbers, got {self.image_size}")
        if len(self.padding) != 2 or min(self.padding) < 0:
            raise ValueError(f"padding must be two numbers of 0 or more, got {self.padding}")
        if not self.grid or min(self.grid) < 1:
            raise ValueError(f"grid must hold positive numbers, got {self.grid}")
        if self.channels < 0:
            raise ValueError(f"channels must be positive, got {self.channels}")
        if any(size < 2 for size in self.codebook_sizes):
            raise ValueError(f"a codebook needs at least 2 entries, got {self.codebook_sizes}")
        if bool(self.codebook_sizes) == bool(self.channels):
            raise ValueError("a layout has either codebook_sizes (discrete) or channels (continuous)")
        if self.widths and len(self.widths) != len(self.scales):
            raise ValueError(f"there are as many widths as scales, got {self.widths} of {self.scales}")
        if self.scales and self.lengths != lengths_of(self.scales, self.widths):
            raise ValueError(f"lengths must be those of the scales {self.scales}, got {self.lengths}")
        if self.lengths and (
            self.grid != (self.lengths[-1],) or self.lengths[0] < 1 or any(now >= then for now, then in pairwise(self.lengths))
        ):
            raise ValueError(f"lengths must rise from 1 to the one side of the grid {self.grid}, got {self.lengths}")

    @classmethod
    def strided(cls, height: int, width: int, stride: int, *, codebook_sizes: tuple[int, ...] = (), channels: int = 0) -> TokenLayout:
        """One position per ``stride`` x ``stride`` pixels, in raster order; images of other sides are padded right and below.

        Args:
            height: Height of the image in pixels.
            width: Width of the image in pixels.
            stride: Pixels a position covers along each axis.
            codebook_sizes: Entries of each codebook; empty for continuous latents.
            channels: Values per position of continuous latents; 0 for discrete tokens.

        Raises:
            TokbenchError: If the image has no pixels.
        """
        if height < 1 or width < 1:
            raise TokbenchError(f"image size {height}x{width} does not fit: height and width must be at least 1")
        rows, columns = -(-height // stride), -(-width // stride)
        padding = (rows * stride - height, columns * stride - width)
        return cls((height, width), (rows, columns), codebook_sizes, channels, padding=padding)

    @classmethod
    def multi_scale(
        cls, stride: int, scales: tuple[int, ...], *, codebook_sizes: tuple[int, ...], widths: tuple[int, ...] = ()
    ) -> TokenLayout:
        """A sequence of maps of an image, coarse to fine; an image can be decoded after every map.

        Args:
            stride: Pixels a position of the last map covers along each axis.
            scales: Sides of the maps, or their heights.
            codebook_sizes: Entries of each codebook.
            widths: Widths of the maps, where they are not square.
        """
        lengths, size = lengths_of(scales, widths), (scales[-1] * stride, (widths or scales)[-1] * stride)
        return cls(size, lengths[-1:], codebook_sizes, scales=scales, lengths=lengths, widths=widths)

    def prefix(self, length: int) -> TokenLayout:
        """Layout of the first positions of a sequence, from which an image can be decoded.

        Args:
            length: How many; one of ``lengths``.

        Raises:
            TokbenchError: If no image can be decoded from so many.
        """
        if (length,) == self.grid:
            return self
        if not self.lengths:
            raise TokbenchError(f"an image is decoded from all {self.positions} positions of its tokens, which have no shorter form")
        if length not in self.lengths:
            some = [str(known) for known in self.lengths]
            few = some if len(some) <= 16 else [*some[:3], "...", some[-1]]
            raise TokbenchError(f"an image is decoded from {', '.join(few)} positions, got {length}; take one of these lengths")
        count = self.lengths.index(length) + 1
        return replace(self, grid=(length,), scales=self.scales[:count], lengths=self.lengths[:count], widths=self.widths[:count])

    @property
    def padded_size(self) -> tuple[int, int]:
        """Height and width of what is encoded, padding included."""
        return self.image_size[0] + self.padding[0], self.image_size[1] + self.padding[1]

    @property
    def cut_size(self) -> tuple[int, int] | None:
        """Height and width to which a decoded image is cut; None if nothing of it was padding."""
        return self.image_size if any(self.padding) else None

    @property
    def discrete(self) -> bool:
        """Whether the tokens are codebook entries."""
        return bool(self.codebook_sizes)

    @property
    def downsampling(self) -> int | None:
        """Pixels a position covers along each axis, as in f16: of several scales at the last; None for a plain sequence and uneven grids."""
        sides = (self.scales[-1], (self.widths or self.scales)[-1]) if self.scales else self.grid
        factors = {pixels / side for pixels, side in zip(self.padded_size, sides, strict=False)} if len(sides) == 2 else {0.5}
        factor = min(factors)
        return int(factor) if len(factors) == 1 and factor.is_integer() else None

    @property
    def positions(self) -> int:
        """L, the number of grid positions."""
        return math.prod(self.grid)

    @property
    def tokens_per_image(self) -> int:
        """L * K: one token per position and codebook (one vector per position for continuous latents)."""
        return self.positions * max(len(self.codebook_sizes), 1)

    @property
    def bits_per_image(self) -> float | None:
        """L * sum(log2 size): the ceiling a uniform code would reach; None for continuous latents."""
        if not self.discrete:
            return None
        return self.positions * math.fsum(math.log2(size) for size in self.codebook_sizes)

    @property
    def bpp(self) -> float | None:
        """``bits_per_image`` divided by the number of pixels; None for continuous latents."""
        bits = self.bits_per_image
        return None if bits is None else bits / math.prod(self.image_size)

    @property
    def storage_bits_per_image(self) -> int | None:
        """Bits to store continuous latents as float32; None for discrete tokens. Not comparable with ``bits_per_image``."""
        return None if self.discrete else self.positions * self.channels * 32


def lengths_of(scales: tuple[int, ...], widths: tuple[int, ...] = ()) -> tuple[int, ...]:
    """How many positions a sequence of maps has after each of them.

    Args:
        scales: Sides of the maps, or their heights.
        widths: Widths of the maps, where they are not square.
    """
    return tuple(accumulate(height * width for height, width in zip(scales, widths or scales, strict=True)))


def check_unpadded(layout: TokenLayout, *, why: str) -> None:
    """See that an image needs no padding, where none can be taken.

    Args:
        layout: Layout of the image.
        why: What takes no padding, as the text goes on.

    Raises:
        TokbenchError: If it does.
    """
    if any(layout.padding):
        (height, width), (tall, wide) = layout.image_size, layout.padded_size
        raise TokbenchError(f"image size {height}x{width} does not fit: {why}, and images of this size become {tall}x{wide}")


def check_one_size(height: int, width: int, side: int, *, model: str, hint: str = "") -> None:
    """See that an image has the one size that a model takes.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        side: Side of the square images it takes.
        model: What it is called.
        hint: What else can be done, as the text goes on behind the option.

    Raises:
        TokbenchError: If the image has another size.
    """
    if (height, width) != (side, side):
        raise TokbenchError(f"image size {height}x{width} does not fit: this {model} takes {side}x{side} (--size {side}{hint})")
