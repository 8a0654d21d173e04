"""Configuration of Infinity's tokenizers, which know the scales of images that are not square; no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from tokbench.configs import UNLESS_DEFAULT
from tokbench.errors import TokbenchError
from tokbench.layout import TokenLayout
from tokbench.tokenizers.multiscale.config import MultiScaleConfig

SCALES = (1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64)
"""Sides of the maps for square images of 1024 px; smaller images have the first 7, 10 or 12."""

HEIGHTS_AND_WIDTHS = {
    1.25: ((1, 2, 3, 5, 10, 15, 20, 25, 30, 35, 45, 55, 70), (1, 2, 3, 4, 8, 12, 16, 20, 24, 28, 36, 44, 56)),
    1.333: ((1, 2, 4, 8, 12, 16, 20, 24, 28, 36, 48, 60, 72), (1, 2, 3, 6, 9, 12, 15, 18, 21, 27, 36, 45, 54)),
    1.5: ((1, 2, 3, 6, 9, 15, 21, 27, 33, 39, 48, 63, 78), (1, 2, 2, 4, 6, 10, 14, 18, 22, 26, 32, 42, 52)),
    1.75: ((1, 2, 3, 7, 11, 14, 21, 28, 35, 42, 56, 70, 84), (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48)),
    2.0: ((1, 2, 4, 6, 10, 16, 22, 30, 38, 46, 60, 74, 90), (1, 2, 2, 3, 5, 8, 11, 15, 19, 23, 30, 37, 45)),
    2.5: ((1, 2, 5, 10, 15, 20, 25, 30, 40, 50, 65, 80, 100), (1, 2, 2, 4, 6, 8, 10, 12, 16, 20, 26, 32, 40)),
    3.0: ((1, 2, 6, 9, 15, 21, 27, 36, 45, 54, 72, 90, 111), (1, 2, 2, 3, 5, 7, 9, 12, 15, 18, 24, 30, 37)),
}
"""Heights and widths of the maps of images that are higher than wide, by height over width.

Source: FoundationVision/Infinity ``infinity/utils/dynamic_resolution.py``.
"""

RATIOS = {1.0: (SCALES, SCALES)} | HEIGHTS_AND_WIDTHS | {int(1000 / r) / 1000: maps[::-1] for r, maps in HEIGHTS_AND_WIDTHS.items()}
"""The same of all images, by the names that upstream has for the ratios."""


@dataclass(frozen=True, kw_only=True)
class InfinityConfig(MultiScaleConfig):
    """Shape of a tokenizer of Infinity, whose scales and widths follow from their number where images are not square.

    Args:
        ratio: Height over width of its images, one of ``RATIOS``; with 1 scales and widths are as they are set.

    Raises:
        ValueError: If there are no scales of that ratio, or more than upstream has.
    """

    ratio: float = field(default=1.0, metadata=UNLESS_DEFAULT)

    def __post_init__(self) -> None:
        if self.ratio not in RATIOS:
            raise ValueError(f"ratio is one of {', '.join(f'{ratio:g}' for ratio in sorted(RATIOS))}, got {self.ratio}")
        if self.ratio != 1:
            heights, widths = (maps[: len(self.scales)] for maps in RATIOS[self.ratio])
            if len(heights) < len(self.scales):
                raise ValueError(f"ratio={self.ratio:g} has {len(heights)} scales, got {len(self.scales)}")
            object.__setattr__(self, "scales", heights)
            object.__setattr__(self, "widths", widths)
        super().__post_init__()

    def layout(self, height: int, width: int) -> TokenLayout:
        """The maps of all scales as one sequence, for images of one size; of another that is published, says how to have it."""
        try:
            return super().layout(height, width)
        except TokbenchError:
            grid = height / self.stride, width / self.stride
            for ratio, maps in RATIOS.items():
                if (maps[0][len(self.scales) - 1], maps[1][len(self.scales) - 1]) == grid:
                    raise TokbenchError(
                        f"image size {height}x{width} does not fit: these scales are for {self.grid[0] * self.stride}x{self.grid[1] * self.stride}; "
                        f"for it, take --set ratio={ratio:g}"
                    ) from None
            raise
