"""Images whose lower half is hidden before they are encoded: what a completion begins from must not know what it is to draw.

Codes of a convolutional tokenizer know of pixels far around theirs, and with attention of all of them. So the upper codes of a whole image
tell of its lower half. A completion begins from the upper codes of the image with its lower half hidden, and ends in the lower codes of the
whole image.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from tokbench.bench.fitting import fit
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed.dataset import TokenDataset
from tokbench.lm.order import Order
from tokbench.lm.row_ids import ids_of
from tokbench.records.protocol import Protocol
from tokbench.tokens import DiscreteTokens

HALVES = "halves"
"""Folder within that of a run, where images with a hidden half are encoded to."""


def check_grid(grid: tuple[int, ...]) -> None:
    """Refuse images without an upper half of codes.

    Args:
        grid: Size of an image in positions.

    Raises:
        TokbenchError: If there is a single row of them, or a single position.
    """
    if grid[0] < 2:
        shape = "*".join(map(str, grid))
        raise TokbenchError(
            f"images of {shape} codes have no upper half to be completed from; take larger images, or leave completions out: "
            "--set tasks.complete=0"
        )


def hide_lower(images: UInt8[Tensor, "b 3 h w"], grid: tuple[int, ...]) -> UInt8[Tensor, "b 3 h w"]:
    """Hide what lies below the upper half of the rows of codes: the last row of pixels above is repeated there.

    Args:
        images: RGB.
        grid: Size of an image in positions. Positions of a 1D grid have no place, and nothing is hidden.

    Returns:
        A copy of equal size.

    Raises:
        TokbenchError: If there is no upper half.
    """
    check_grid(grid)
    hidden = images.clone()
    if len(grid) == 2:
        kept = images.shape[2] * (grid[0] // 2) // grid[0]
        hidden[:, :, kept:] = images[:, :, kept - 1 : kept]
    return hidden


def joined(upper: DiscreteTokens, whole: DiscreteTokens) -> DiscreteTokens:
    """Join the upper half of the rows of codes of images with a hidden half to the other rows of the whole images.

    Args:
        upper: Codes of the images with a hidden half.
        whole: Codes of the whole images, in the same order.
    """
    kept = whole.grid[0] // 2 * (whole.codes.shape[1] // whole.grid[0])
    return DiscreteTokens(torch.cat([upper.codes[:, :kept], whole.codes[:, kept:]], dim=1), whole.grid, whole.codebook_sizes)


class HalvedImages(ImageSource):
    """The first images of a source with their lower half hidden, under their own ids.

    Args:
        source: Whole images.
        count: How many at most.
        protocol: How they are cut and scaled.
        grid: Size of an image in positions.
    """

    def __init__(self, source: ImageSource, count: int, protocol: Protocol, grid: tuple[int, ...]) -> None:
        self._source, self._protocol, self._grid = source, protocol, grid
        self.name, self.ready_size = source.name, protocol.size
        self.ids = source.ids[:count]

    def read(self, index: int) -> Image.Image:
        """Cut one image, and hide its lower half."""
        pixels = torch.from_numpy(np.array(fit(self._source.read(index), self._protocol))).permute(2, 0, 1)
        return Image.fromarray(hide_lower(pixels[None], self._grid)[0].permute(1, 2, 0).numpy())

    def raw_digest(self, index: int) -> bytes:
        """Digest of the whole image, and of the rule."""
        return hashlib.sha256(b"upper half\0" + self._source.raw_digest(index)).digest()

    def record(self, index: int) -> str:
        """What to call the image in an error."""
        return self._source.record(index)


class Halves:
    """Images of an export whose upper halves were encoded apart.

    Args:
        halves: Export of the images with a hidden half.
        data: Export of whole images.
        kept: Rows of ``data`` to use, ascending; None uses all.
        seed: Seed of their order.

    Raises:
        TokbenchError: If ``data`` lacks one of the images, or has them with other grids.
        ValueError: If none is kept.
    """

    def __init__(self, halves: TokenDataset, data: TokenDataset, *, kept: np.ndarray | None, seed: int) -> None:
        if halves.grid != data.grid:
            raise TokbenchError(f"{halves.folder} holds images of another size than {data.folder}; give the halves that belong to it")
        names = list(ids_of(halves))
        wanted = set(names)
        rows = {name: row for row, name in enumerate(ids_of(data)) if name in wanted}
        if missing := [name for name in names if name not in rows]:
            raise TokbenchError(f"{data.folder} has no image {missing[0]!r} of {halves.folder}; give the halves that belong to it")
        self._halves, self._data = halves, data
        self._rows = np.array([rows[name] for name in names], dtype=np.int64)
        used = None if kept is None else np.flatnonzero(np.isin(self._rows, kept))
        self._order = Order(halves.blocks, kept=used, seed=seed, at_once=halves.cached_blocks)

    def image(self, number: int) -> tuple[str, DiscreteTokens]:
        """Give an image to complete.

        Args:
            number: From 0, without end.

        Returns:
            Its id, and its codes: the upper ones know nothing of the lower half.
        """
        row = self._order.row(number)
        upper, whole = self._halves[row], self._data[int(self._rows[row])]
        grid, sizes = self._data.grid, self._data.codebook_sizes
        tokens = (DiscreteTokens(item["codes"][None], grid, sizes) for item in (upper, whole))
        return str(whole["id"]), joined(*tokens)
