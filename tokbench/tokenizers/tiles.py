"""Encoding and decoding large images tile by tile, one tile of one image at a time.

    image -> overlapping tiles -> encode each -> the tokens of each tile's middle -> one grid, as of the whole image
    tokens -> overlapping tiles -> decode each -> faded into each other -> image

Before the tiles of an image come windows spread over it, which tell layers that look at all of a map what a tile does not show.

Memory follows the size of a tile: nothing else is as large as the image but the image itself and its tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from tokbench.conduct import Misbehaved, blamed, layout_of, name_of, values_of
from tokbench.errors import TokbenchError
from tokbench.nn.autoencoder import Norm
from tokbench.nn.whole import joined, sketched, sketching
from tokbench.tokenizers.tiling import Span, Tiling
from tokbench.tokens import DiscreteTokens, Tokens

if TYPE_CHECKING:
    from tokbench.tokenizers.base import Tokenizer


Place = tuple[slice, slice]
"""Rows and columns of a grid."""

WINDOWS = 4
"""Along each axis."""


def tiling_for(tokenizer: Tokenizer, size: int, overlap: int | None = None, windows: int | None = None) -> Tiling:
    """Say how a tokenizer cuts large images.

    Args:
        tokenizer: Any tokenizer.
        size: Side of a tile in pixels.
        overlap: Pixels that neighbours share at least; None takes a quarter of the side, in whole positions.
        windows: Windows along each axis that say of the whole image what layers ask; None takes ``WINDOWS`` where there are such layers.

    Raises:
        TokbenchError: If it does not work in tiles, or not in such.
        Misbehaved: If its code fails.
    """
    name = name_of(tokenizer)
    with blamed(name, "its stride and what it draws"):
        stride, tileable, noisy = tokenizer.stride, tokenizer.tileable, tokenizer.decode_is_stochastic
    whole = f"{name} does not work in tiles: its tokens stand for a whole image, or depend on where in it they lie; leave --tile-size out"
    if not tileable:
        raise TokbenchError(whole)
    if noisy:
        raise TokbenchError(f"{name} does not work in tiles: its decoder draws noise for a whole image; leave --tile-size out")
    if type(size) is not int or size < stride or size % stride:
        raise TokbenchError(f"tiles of {name} have sides of {stride}, {2 * stride}, ... px, got {size}; take a multiple of {stride}")
    try:
        layout = layout_of(tokenizer, size, size)
    except Misbehaved:
        raise
    except TokbenchError as error:
        raise TokbenchError(f"{name} takes no tiles of {size} px: {error}") from error
    if layout.grid != (size // stride, size // stride):
        raise TokbenchError(whole)
    overlap = size // 4 // stride * stride if overlap is None else overlap
    if type(overlap) is not int or overlap % stride or not 0 <= overlap <= size // 2:
        most = size // 2 // stride * stride
        raise TokbenchError(f"tiles of {name} of {size} px overlap by 0 to {most} px, in steps of {stride}, got {overlap}")
    if windows is None:
        windows = WINDOWS if any(isinstance(part, Norm) for part in tokenizer.modules()) else 0
    return Tiling(size, overlap, windows)


def encode_tiles(tokenizer: Tokenizer, images: Float[Tensor, "b 3 h w"], seeds: list[int], tiling: Tiling) -> Tokens:
    """Encode images tile by tile; a position's token is that of the tile whose centre is nearest.

    Args:
        tokenizer: One that works in such tiles.
        images: RGB in [-1, 1], of a size that it takes.
        seeds: One per image, where it draws noise; a tile's own follows from it.
        tiling: How they are cut.
    """
    stride = tokenizer.stride
    grid = images.shape[2] // stride, images.shape[3] // stride
    tokens: Tokens | None = None
    found: Tensor | None = None
    for image in range(len(images)):
        own = seeds[image : image + 1]
        look = partial(_encoded, tokenizer, images[image], own)
        for number, (rows, columns, told) in enumerate(_tiles(tiling, grid, stride, look)):
            size = (rows.stop - rows.start, columns.stop - columns.start)
            with told:
                tokens = _encoded(tokenizer, images[image], [_tile_seed(seed, number) for seed in own], [_place(rows, columns)])
            if tokens.grid != size:
                raise ValueError(f"a tile of {size} positions became a grid {tokens.grid}")
            values = values_of(tokens).unflatten(1, size)
            found = values.new_empty((len(images), *grid, values.shape[3])) if found is None else found
            kept = values[0, rows.first - rows.start : rows.end - rows.start, columns.first - columns.start : columns.end - columns.start]
            found[image, rows.first : rows.end, columns.first : columns.end] = kept
    return tokenizer._encode(images, seeds) if tokens is None or found is None else _with_values(tokens, found)


def decode_tiles(tokenizer: Tokenizer, tokens: Tokens, tiling: Tiling) -> Float[Tensor, "b 3 h w"]:
    """Decode images tile by tile; where tiles overlap, their pixels fade into each other linearly.

    Args:
        tokenizer: One that works in such tiles.
        tokens: On a grid of two axes.
        tiling: How images are cut.
    """
    stride = tokenizer.stride
    height, width = tokens.grid
    values = values_of(tokens).unflatten(1, (height, width))
    pixels: Tensor | None = None
    found: Tensor | None = None
    for image in range(len(tokens)):
        look = partial(_decoded, tokenizer, tokens, values[image])
        for rows, columns, told in _tiles(tiling, (height, width), stride, look):
            with told:
                pixels = look([_place(rows, columns)])
            if found is None:
                shape = (len(tokens), 3, height * stride, width * stride)
                found = pixels.new_zeros(shape, dtype=torch.promote_types(pixels.dtype, torch.float32))
            weights = _weights(rows, stride)[:, None] * _weights(columns, stride)
            down, right = (_pixels(part, stride) for part in _place(rows, columns))
            found[image, :, down, right] += pixels[0] * weights.to(found)
    return tokenizer._decode(tokens, []) if pixels is None or found is None else found.to(pixels.dtype)


def _encoded(tokenizer: Tokenizer, image: Float[Tensor, "3 h w"], seeds: list[int], places: list[Place]) -> Tokens:
    """Tokens of parts of an image, all of one size."""
    parts = [image[:, _pixels(rows, tokenizer.stride), _pixels(columns, tokenizer.stride)] for rows, columns in places]
    return tokenizer._encode(torch.stack(parts), seeds * len(parts))


def _decoded(tokenizer: Tokenizer, tokens: Tokens, own: Tensor, places: list[Place]) -> Float[Tensor, "b 3 h2 w2"]:
    """Pixels of parts of a grid ``[H, W, K]``, all of one size."""
    parts = torch.stack([own[rows, columns] for rows, columns in places])
    decoded: Tensor = tokenizer._decode(_with_values(tokens, parts), [])
    return decoded


def _tiles(
    tiling: Tiling, grid: tuple[int, int], stride: int, look: Callable[[list[Place]], object]
) -> Iterator[tuple[Span, Span, AbstractContextManager[None]]]:
    """Rows and columns of every tile, in raster order, and within what it is worked on, so that layers are told of the whole image.

    Args:
        tiling: How the image is cut.
        grid: Rows and columns of its positions.
        stride: Pixels a position covers.
        look: Runs the network on windows of the image.
    """
    height, width = grid
    tiles = list(product(tiling.spans(height, stride), tiling.spans(width, stride)))
    if len(tiles) == 1 or not tiling.windows:
        yield from ((rows, columns, nullcontext()) for rows, columns in tiles)
        return
    sets = [list(product(down, right)) for down, right in product(tiling.sights(height, stride), tiling.sights(width, stride))]
    sketches = []
    for windows in sets:
        with sketching([_edges(rows, columns, grid) for rows, columns in windows]) as sketch:
            look([(slice(rows.start, rows.stop), slice(columns.start, columns.stop)) for rows, columns in windows])
        sketches.append(sketch)
    entries, sights = joined(sketches), sets[len(sets) // 2]
    area = len(sights[0][0]) * len(sights[0][1])
    for rows, columns in tiles:
        outside = [number for number, sight in enumerate(sights) if not (_within(sight[0], rows) and _within(sight[1], columns))]
        rest = height * width - (rows.stop - rows.start) * (columns.stop - columns.start)
        yield rows, columns, sketched(entries, outside=outside, weight=rest / (area * max(len(outside), 1)))


def _edges(rows: range, columns: range, grid: tuple[int, int]) -> tuple[bool, bool, bool, bool]:
    """Where a window ends as the grid does: above, on the left, below, on the right."""
    return rows.start == 0, columns.start == 0, rows.stop == grid[0], columns.stop == grid[1]


def _within(sight: range, tile: Span) -> bool:
    """Whether the middle of a window lies in a tile, along one axis."""
    return tile.start <= (sight.start + sight.stop) / 2 < tile.stop


def _place(rows: Span, columns: Span) -> Place:
    return slice(rows.start, rows.stop), slice(columns.start, columns.stop)


def _pixels(part: slice, stride: int) -> slice:
    return slice(part.start * stride, part.stop * stride)


def _weights(span: Span, stride: int) -> Float[Tensor, "n"]:
    """How much each pixel along an axis counts; those of neighbours sum to 1."""
    places = torch.arange(span.start * stride, span.stop * stride) + 0.5
    return _risen(places, span.first, span.fade_in, stride) * (1 - _risen(places, span.end, span.fade_out, stride))


def _risen(places: Tensor, border: int, fade: int, stride: int) -> Tensor:
    """From 0 to 1 over the pixels of a fade around a border, or at once."""
    if not fade:
        return (places > border * stride).float()
    return ((places - (border - fade // 2) * stride) / (fade * stride)).clamp(0, 1)


def _with_values(tokens: Tokens, values: Tensor) -> Tokens:
    """Tokens like others, of codes or latents ``[b, h, w, k]``."""
    grid, listed = tuple(values.shape[1:3]), values.flatten(1, 2).contiguous()
    if isinstance(tokens, DiscreteTokens):
        return replace(tokens, codes=listed, grid=grid, image_size=None)
    return replace(tokens, latents=listed, grid=grid, image_size=None)


def _tile_seed(seed: int, number: int) -> int:
    """The image's own for its first tile; for others a hash, so that no two tiles have the same noise."""
    return seed if number == 0 else int.from_bytes(hashlib.sha256(f"{seed}\0{number}".encode()).digest()[:8], "big") >> 1
