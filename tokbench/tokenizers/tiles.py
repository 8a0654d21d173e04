"""Encoding and decoding large images tile by tile, one tile of one image at a time.

    image -> overlapping tiles -> encode each -> the tokens of each tile's middle -> one grid, as of the whole image
    tokens -> overlapping tiles -> decode each -> faded into each other -> image

Memory follows the size of a tile: nothing else is as large as the image but the image itself and its tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from tokbench.conduct import Misbehaved, blamed, layout_of, name_of, values_of
from tokbench.errors import TokbenchError
from tokbench.tokenizers.tiling import Span, Tiling
from tokbench.tokens import DiscreteTokens, Tokens

if TYPE_CHECKING:
    from tokbench.tokenizers.base import Tokenizer


def tiling_for(tokenizer: Tokenizer, size: int, overlap: int | None = None) -> Tiling:
    """Say how a tokenizer cuts large images.

    Args:
        tokenizer: Any tokenizer.
        size: Side of a tile in pixels.
        overlap: Pixels that neighbours share at least; None takes a quarter of the side, in whole positions.

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
    return Tiling(size, overlap)


def encode_tiles(tokenizer: Tokenizer, images: Float[Tensor, "b 3 h w"], seeds: list[int], tiling: Tiling) -> Tokens:
    """Encode images tile by tile; a position's token is that of the tile whose centre is nearest.

    Args:
        tokenizer: One that works in such tiles.
        images: RGB in [-1, 1], of a size that it takes.
        seeds: One per image, where it draws noise; a tile's own follows from it.
        tiling: How they are cut.
    """
    stride = tokenizer.stride
    height, width = images.shape[2] // stride, images.shape[3] // stride
    tokens: Tokens | None = None
    found: Tensor | None = None
    for number, (rows, columns) in enumerate(_tiles(tiling, (height, width), stride)):
        size = (rows.stop - rows.start, columns.stop - columns.start)
        for image in range(len(images)):
            pixels = images[image : image + 1, :, _pixels(rows, stride), _pixels(columns, stride)].contiguous()
            tokens = tokenizer._encode(pixels, [_tile_seed(seed, number) for seed in seeds[image : image + 1]])
            if tokens.grid != size:
                raise ValueError(f"a tile of {size} positions became a grid {tokens.grid}")
            values = values_of(tokens).unflatten(1, size)
            found = values.new_empty((len(images), height, width, values.shape[3])) if found is None else found
            own = values[0, rows.first - rows.start : rows.end - rows.start, columns.first - columns.start : columns.end - columns.start]
            found[image, rows.first : rows.end, columns.first : columns.end] = own
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
    for rows, columns in _tiles(tiling, (height, width), stride):
        weights = _weights(rows, stride)[:, None] * _weights(columns, stride)
        for image in range(len(tokens)):
            part = values[image : image + 1, rows.start : rows.stop, columns.start : columns.stop]
            pixels = tokenizer._decode(_with_values(tokens, part), [])
            if found is None:
                shape = (len(tokens), 3, height * stride, width * stride)
                found = pixels.new_zeros(shape, dtype=torch.promote_types(pixels.dtype, torch.float32))
            found[image, :, _pixels(rows, stride), _pixels(columns, stride)] += pixels[0] * weights.to(found)
    return tokenizer._decode(tokens, []) if pixels is None or found is None else found.to(pixels.dtype)


def _tiles(tiling: Tiling, grid: tuple[int, int], stride: int) -> Iterator[tuple[Span, Span]]:
    """Rows and columns of every tile, in raster order."""
    height, width = grid
    return product(tiling.spans(height, stride), tiling.spans(width, stride))


def _pixels(span: Span, stride: int) -> slice:
    return slice(span.start * stride, span.stop * stride)


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
