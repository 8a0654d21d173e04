"""Sheets of pictures of one size: side by side on white, enlarged, so that people see them, and cut apart again without loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sheet:
    """How a sheet is laid out.

    Args:
        columns: Pictures in a row.
        enlarge: Pixels of the sheet that a pixel of a picture becomes, each way.
        gap: White pixels between pictures and around them.

    Raises:
        ValueError: If a number is too small.
    """

    columns: int = 8
    enlarge: int = 2
    gap: int = 4

    def __post_init__(self) -> None:
        if self.columns < 1 or self.enlarge < 1 or self.gap < 0:
            raise ValueError(f"columns and enlarge are at least 1 and gap at least 0, got {self.columns}, {self.enlarge} and {self.gap}")

    def size(self, count: int, height: int, width: int) -> tuple[int, int]:
        """Say how large a sheet is before it is drawn.

        Args:
            count: Pictures on it, at least one.
            height: Pixels of a picture from top to bottom.
            width: Pixels of a picture across.

        Returns:
            Height and width of the sheet in pixels.
        """
        columns = min(self.columns, count)
        high, wide = height * self.enlarge + self.gap, width * self.enlarge + self.gap
        return self.gap + -(-count // columns) * high, self.gap + columns * wide

    def draw(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Put pictures side by side.

        Args:
            pictures: At least one; uint8 ``[H, W, 3]``, all of one shape.

        Returns:
            The sheet, uint8 RGB.
        """
        height, width, _ = pictures[0].shape
        columns = min(self.columns, len(pictures))
        high, wide = height * self.enlarge + self.gap, width * self.enlarge + self.gap
        canvas = np.full((*self.size(len(pictures), height, width), 3), 255, dtype=np.uint8)
        for place, pixels in enumerate(pictures):
            top, left = self.gap + place // columns * high, self.gap + place % columns * wide
            larger = pixels.repeat(self.enlarge, axis=0).repeat(self.enlarge, axis=1)
            canvas[top : top + high - self.gap, left : left + wide - self.gap] = larger
        return canvas

    def cut(self, sheet: np.ndarray, place: int, height: int, width: int) -> np.ndarray:
        """Take one picture out of a sheet.

        Args:
            sheet: What ``draw`` returned.
            place: Number of the picture, from 0.
            height: Pixels of the picture from top to bottom.
            width: Pixels of the picture across.

        Returns:
            uint8 ``[height, width, 3]``.

        Raises:
            ValueError: If the sheet ends before.
        """
        top = self.gap + place // self.columns * (height * self.enlarge + self.gap)
        left = self.gap + place % self.columns * (width * self.enlarge + self.gap)
        bottom, right = top + height * self.enlarge, left + width * self.enlarge
        if place < 0 or bottom > sheet.shape[0] or right > sheet.shape[1]:
            raise ValueError(f"a sheet of {sheet.shape[1]}x{sheet.shape[0]} px has no picture {place} of {width}x{height} px")
        return np.ascontiguousarray(sheet[top : bottom : self.enlarge, left : right : self.enlarge])
