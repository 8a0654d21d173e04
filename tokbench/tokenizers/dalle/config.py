"""Configuration of DALL-E's discrete VAE; no torch."""

from __future__ import annotations

from dataclasses import dataclass

from tokbench.layout import TokenLayout

GROUPS = 4
"""Groups of blocks on either side; between two of them the size halves or doubles."""


@dataclass(frozen=True)
class DalleConfig:
    """Shape of a discrete VAE.

    Args:
        codes: K, codes to choose from.
        hidden: Width of the group with the highest resolution; the others are 2, 4 and 8 times as wide.
        blocks: Residual blocks a group.
        vector: Values that a code becomes before the decoder's first group.

    Raises:
        ValueError: If there are fewer than 2 codes, a number is not positive, or the width is no multiple of 4.
    """

    codes: int = 8192
    hidden: int = 256
    blocks: int = 2
    vector: int = 128

    def __post_init__(self) -> None:
        if self.codes < 2 or min(self.hidden, self.blocks, self.vector) < 1 or self.hidden % 4:
            raise ValueError(f"there are 2 codes or more, hidden is a multiple of 4, and all numbers are positive, got {self}")

    @property
    def stride(self) -> int:
        """Pixels a token covers along each axis."""
        return 2 ** (GROUPS - 1)

    def layout(self, height: int, width: int) -> TokenLayout:
        """One token per ``stride`` x ``stride`` pixels, from one codebook."""
        return TokenLayout.strided(height, width, self.stride, codebook_sizes=(self.codes,))
