"""Encoding and decoding large images tile by tile, one tile of one image at a time.

    image -> overlapping tiles -> encode each -> the tokens of each tile's middle -> one grid, as of the whole image
    tokens -> overlapping tiles -> decode each -> faded into each other -> image

Networks that say where they are halfway work in tiles on one side of it alone, where maps are large. On the other they see the whole.

    image -> overlapping tiles -> first half of each -> the middles, one map -> second half, once -> tokens
    tokens -> first half, once -> one map -> overlapping tiles -> second half of each -> faded into each other -> image

Before the tiles of an image come windows spread over it, and the tiles themselves for a first time. They tell layers that look at all of a map
what a tile does not show, see ``tokbench.nn.whole``.

Memory follows the size of a tile: nothing else is as large as the image but the image itself, its tokens and the map halfway.
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
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from tokbench.allocator import give_back
from tokbench.conduct import Misbehaved, blamed, layout_of, name_of, values_of
from tokbench.errors import TokbenchError
from tokbench.nn.autoencoder import Norm
from tokbench.nn.whole import Halved, Heard, Pair, from_halfway, sketched, sketching, until_halfway
from tokbench.tokenizers.tiling import Span, Tiling
from tokbench.tokens import DiscreteTokens, Tokens

if TYPE_CHECKING:
    from tokbench.tokenizers.base import Tokenizer


Place = tuple[slice, slice]
"""Rows and columns of a grid."""

WINDOWS = 4
"""Along each axis."""

TRIED = 8
"""Positions along each axis of the part of an image by which it is seen whether a network says where it is halfway."""

MOST = 128
"""Values for each pixel of a tile that a map halfway has at most, about as many as the largest map within a published network."""


def tiling_for(
    tokenizer: Tokenizer, size: int, overlap: int | None = None, windows: int | None = None, halfway: bool | None = None
) -> Tiling:
    """Say how a tokenizer cuts large images.

    Args:
        tokenizer: Any tokenizer.
        size: Side of a tile in pixels.
        overlap: Pixels that neighbours share at least; None takes a quarter of the side, in whole positions.
        windows: Windows along each axis that say of the whole image what layers ask; None takes ``WINDOWS`` where there are such layers.
        halfway: Whether the half of a network that works on its smallest maps sees the whole image; None says so where it has halves.

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
    if halfway is None:
        halfway = any(isinstance(part, Halved) for part in tokenizer.modules())
    return Tiling(size, overlap, windows, halfway)


def encode_tiles(tokenizer: Tokenizer, images: Float[Tensor, "b 3 h w"], seeds: list[int], tiling: Tiling) -> Tokens:
    """Encode images tile by tile; a position's token is that of the tile whose centre is nearest.

    Args:
        tokenizer: One that works in such tiles.
        images: RGB in [-1, 1], of a size that it takes.
        seeds: One per image, where it draws noise. Where tiles are encoded to the end, a tile's own follows from it.
        tiling: How they are cut.
    """
    if not len(images):
        return tokenizer._encode(images, seeds)
    grid = images.shape[2] // tokenizer.stride, images.shape[3] // tokenizer.stride
    made = [
        _encoded_in_tiles(tokenizer, images[number : number + 1], seeds[number : number + 1], tiling, grid) for number in range(len(images))
    ]
    return _with_values(made[0], torch.cat([values_of(tokens) for tokens in made]).unflatten(1, grid))


def _encoded_in_tiles(
    tokenizer: Tokenizer, image: Float[Tensor, "1 3 h w"], seeds: list[int], tiling: Tiling, grid: tuple[int, int]
) -> Tokens:
    """Tokens of one image."""
    ends: list[Tokens] = []

    def to_the_end(places: list[Place], number: int = 0) -> Tensor:
        ends[:] = [_encoded(tokenizer, image[0], [_tile_seed(seed, number) for seed in seeds], places)]
        size = places[0][0].stop - places[0][0].start, places[0][1].stop - places[0][1].start
        if ends[-1].grid != size:
            raise ValueError(f"a tile of {size} positions became a grid {ends[-1].grid}")
        return rearrange(values_of(ends[-1]).unflatten(1, size), "b h w k -> b k h w")

    def to_the_half(places: list[Place], number: int = 0) -> Tensor:
        found = until_halfway(lambda: _encoded(tokenizer, image[0], seeds, places))
        assert found is not None
        return found

    scale = _scale_halfway(partial(_encoded, tokenizer, image[0], seeds), tiling, grid, tokenizer.stride)
    times, make = (1, to_the_end) if scale is None else (scale, to_the_half)
    found: Tensor | None = None
    for number, (rows, columns, told) in enumerate(_tiles(tiling, grid, tokenizer.stride, make)):
        with told:
            part = make([_place(rows, columns)], number)[0]
        found = part.new_empty((len(part), *(times * side for side in grid))) if found is None else found
        down, right = slice(times * rows.first, times * rows.end), slice(times * columns.first, times * columns.end)
        kept = part[:, times * (rows.first - rows.start) :, times * (columns.first - columns.start) :]
        found[:, down, right] = kept[:, : down.stop - down.start, : right.stop - right.start]
    assert found is not None
    if scale is None:
        return _with_values(ends[-1], rearrange(found, "k h w -> 1 h w k"))
    with from_halfway(found[None]):
        return tokenizer._encode(image, seeds)


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
    dtype: torch.dtype | None = None
    found: Tensor | None = None
    for image in range(len(tokens)):
        look = _look_in_tiles(partial(_decoded, tokenizer, tokens, values[image]), tiling, (height, width), stride)
        for rows, columns, told in _tiles(tiling, (height, width), stride, look):
            with told:
                pixels = look([_place(rows, columns)])
            if found is None:
                dtype, shape = pixels.dtype, (len(tokens), 3, height * stride, width * stride)
                found = pixels.new_zeros(shape, dtype=torch.promote_types(dtype, torch.float32))
            weights = _weights(rows, stride)[:, None] * _weights(columns, stride)
            down, right = (_pixels(part, stride) for part in _place(rows, columns))
            found[image, :, down, right].addcmul_(pixels[0].to(found.dtype), weights.to(found))
            del pixels  # before the next tile is worked on
    return tokenizer._decode(tokens, []) if found is None else found.to(dtype)


def _look_in_tiles(
    decode: Callable[[list[Place]], Tensor], tiling: Tiling, grid: tuple[int, int], stride: int
) -> Callable[[list[Place]], Tensor]:
    """What decodes parts of one grid: to begin with as it is given, or from halfway, where the whole was taken at once."""
    scale = _scale_halfway(decode, tiling, grid, stride)
    if scale is None:
        return decode
    whole = until_halfway(lambda: decode([(slice(0, grid[0]), slice(0, grid[1]))]))
    assert whole is not None

    def look(places: list[Place]) -> Tensor:
        parts = [whole[0, :, _pixels(rows, scale), _pixels(columns, scale)] for rows, columns in places]
        with from_halfway(torch.stack(parts)):
            return decode(places)

    return look


def _scale_halfway(run: Callable[[list[Place]], object], tiling: Tiling, grid: tuple[int, int], stride: int) -> int | None:
    """Rows that a map halfway has for a row of the grid; None where tiles are worked on to the end.

    That is where there is but one tile, a network does not say where it is halfway, or its map would be larger than ``MOST`` allows.

    Args:
        run: Encodes or decodes parts of an image; it is tried on a small one.
        tiling: How the image is cut.
        grid: Rows and columns of its positions.
        stride: Pixels a position covers.
    """
    tile = tiling.size // stride
    if not tiling.halfway or max(grid) <= tile:
        return None
    rows, columns = (min(side, tile, TRIED) for side in grid)
    found = until_halfway(lambda: run([(slice(0, rows), slice(0, columns))]))
    if found is None or found.shape[2] % rows or found.shape[2] * columns != found.shape[3] * rows:
        return None
    scale = found.shape[2] // rows
    return scale if found.shape[1] * scale**2 * grid[0] * grid[1] <= MOST * tiling.size**2 else None


def _encoded(tokenizer: Tokenizer, image: Float[Tensor, "3 h w"], seeds: list[int], places: list[Place]) -> Tokens:
    """Tokens of parts of an image, all of one size."""
    give_back()  # what is kept of a tile lies between it, so that it would grow from tile to tile
    parts = [image[:, _pixels(rows, tokenizer.stride), _pixels(columns, tokenizer.stride)] for rows, columns in places]
    return tokenizer._encode(torch.stack(parts), seeds * len(parts))


def _decoded(tokenizer: Tokenizer, tokens: Tokens, own: Tensor, places: list[Place]) -> Float[Tensor, "b 3 h2 w2"]:
    """Pixels of parts of a grid ``[H, W, K]``, all of one size."""
    give_back()
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
    sights = list(product(tiling.sights(height, stride), tiling.sights(width, stride)))
    places = [(slice(rows.start, rows.stop), slice(columns.start, columns.stop)) for rows, columns in sights]
    edges = [_edges(rows, columns, grid) for rows, columns in sights]
    own: list[Pair] = []
    with sketching(edges, own=own) as entries:
        look(places)
    if any(layer[0].ndim == 1 for layer in own):  # attention alone has no moments to be wrong
        heard = Heard()
        for rows, columns in tiles:
            size = rows.stop - rows.start, columns.stop - columns.start
            hear = partial(heard.add, part=(_owned(rows), _owned(columns)), size=size)
            with _told(entries, sights, rows, columns, grid, hear=hear):
                look([_place(rows, columns)])
        anchors, own = heard.anchors(own), []
        with sketching(edges, anchors=anchors) as entries:
            look(places)
    yield from ((rows, columns, _told(entries, sights, rows, columns, grid)) for rows, columns in tiles)


def _told(
    entries: list[Pair],
    sights: list[tuple[range, range]],
    rows: Span,
    columns: Span,
    grid: tuple[int, int],
    *,
    hear: Callable[[int, Tensor, int], None] | None = None,
) -> AbstractContextManager[None]:
    """Within it, a tile is worked on as one of the whole image."""
    outside = [number for number, sight in enumerate(sights) if not (_within(sight[0], rows) and _within(sight[1], columns))]
    area = len(sights[0][0]) * len(sights[0][1])
    rest = grid[0] * grid[1] - (rows.stop - rows.start) * (columns.stop - columns.start)
    return sketched(entries, outside=outside, weight=rest / (area * max(len(outside), 1)), hear=hear)


def _owned(span: Span) -> slice:
    """The positions whose tokens are a tile's, counted within it."""
    return slice(span.first - span.start, span.end - span.start)


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


def _weights(span: Span, stride: int) -> Float[Tensor, " n"]:
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
