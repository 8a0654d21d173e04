"""Pictures of tokens: the index map of a 2D tokenizer, the bits of a 1D one, and which positions re-encoding changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tokbench.report.page.budget import take_fitting
from tokbench.report.page.embed import data_uri
from tokbench.report.page.environment import macros
from tokbench.report.page.model import Entry, Group
from tokbench.report.pictures import Picture, Pictures

MOST_BOOKS = 4
"""Codebooks that are drawn, of those a tokenizer has."""

ROW = 64
"""Tokens in a row of the picture of a long 1D sequence."""

CHANGED, KEPT = (213, 94, 0), (198, 244)
"""Colour of positions that re-encoding changes; darkest and lightest grey of those it keeps."""


@dataclass(frozen=True)
class TokenMap:
    """One picture.

    Args:
        title: What it shows.
        source: As a data URI.
        width: In pixels of the picture.
        height: Height in pixels.
    """

    title: str
    source: str
    width: int
    height: int


@dataclass(frozen=True)
class TokenView:
    """One image's tokens under one tokenizer.

    Args:
        entry: The record.
        kind: ``2D`` or ``1D``.
        maps: Its pictures, one a codebook.
        changed: The picture of changed positions; None if the reconstruction was not encoded again.
        summary: Grid, codebooks and share of changed codes in words.
    """

    entry: Entry
    kind: str
    maps: tuple[TokenMap, ...]
    changed: TokenMap | None
    summary: str


@dataclass(frozen=True)
class TokenImage:
    """One image's tokens under all tokenizers that have any."""

    name: str
    source: str
    width: int
    height: int
    views: tuple[TokenView, ...]


@dataclass(frozen=True)
class TokenPictures:
    """The tokens of some images.

    Args:
        images: In the order asked for.
        dropped: Images asked for whose tokens did not fit the page.
        no_room: Names of records whose tokens of the first image did not fit.
    """

    images: tuple[TokenImage, ...]
    dropped: int = 0
    no_room: tuple[str, ...] = ()


def token_pictures(group: Group, names: Sequence[str], pictures: Pictures, budget: int) -> tuple[TokenPictures, int]:
    """Draw the tokens of some images, as long as they fit.

    Args:
        group: The records.
        names: Ids of the images; those without an original are passed over.
        pictures: Pictures of the group's records, in their order.
        budget: Bytes there are for the pictures with what is written about them.

    Returns:
        The pictures, and the bytes they take.
    """
    wanted = [name for name in names if name in pictures.originals and _coded(group, name, pictures)]
    images, spent = take_fitting((_image(group, name, pictures) for name in wanted), _weight, _shortened, budget)
    shown = {view.entry.number for image in images[:1] for view in image.views}
    first = _coded(group, images[0].name, pictures) if images else []
    no_room = tuple(entry.label for entry, _ in first if entry.number not in shown)
    return TokenPictures(tuple(images), len(wanted) - len(images), no_room), spent


def _weight(image: TokenImage) -> int:
    return len(macros("_gallery.html.j2").token_article(image).encode())


def _shortened(image: TokenImage) -> TokenImage | None:
    return replace(image, views=image.views[:-1]) if len(image.views) > 1 else None


def _image(group: Group, name: str, pictures: Pictures) -> TokenImage:
    original = pictures.originals[name]
    views = tuple(
        _view(entry, picture.codes, picture.codes_again) for entry, picture in _coded(group, name, pictures) if picture.codes is not None
    )
    return TokenImage(name, data_uri(np.ascontiguousarray(original)), original.shape[1], original.shape[0], views)


def _coded(group: Group, name: str, pictures: Pictures) -> list[tuple[Entry, Picture]]:
    """The records whose codes of an image can be drawn, each with its picture."""
    found = [(entry, made[name]) for entry, made in zip(group.entries, pictures.by_record, strict=True) if name in made]
    return [(entry, picture) for entry, picture in found if _drawable(picture.codes, len(entry.record.tokens.codebook_sizes))]


def _drawable(codes: np.ndarray | None, books: int) -> bool:
    return codes is not None and codes.ndim in (2, 3) and codes.shape[-1] == books and codes.size > 0


def _view(entry: Entry, codes: np.ndarray, again: np.ndarray | None) -> TokenView:
    sizes = entry.record.tokens.codebook_sizes
    flat = codes.ndim == 2
    maps = [_map(title, pixels) for title, pixels in draw_codes(codes, sizes)]
    positions = math.prod(codes.shape[:-1])
    words = [" x ".join(map(str, codes.shape[:-1])) + (" position" if positions == 1 else " positions"), _books(sizes)]
    changed = None
    if again is not None and again.shape == codes.shape:
        differs = codes != again
        words.append(f"{differs.mean():.1%} of codes change")
        changed = _map("changed", _changes(codes, differs.any(axis=-1), flat))
    return TokenView(entry, "1D" if flat else "2D", tuple(maps), changed, ", ".join(words))


def _books(sizes: Sequence[int]) -> str:
    kinds = sorted(set(sizes))
    text = f"{len(sizes)} codebooks" if len(sizes) > 1 else "codebook"
    text += f" of {kinds[0]:,}" if len(kinds) == 1 else ""
    return text + (f", first {MOST_BOOKS} shown" if len(sizes) > MOST_BOOKS else "")


def _map(title: str, pixels: np.ndarray) -> TokenMap:
    return TokenMap(title, data_uri(pixels), pixels.shape[1], pixels.shape[0])


def draw_codes(codes: np.ndarray, sizes: Sequence[int]) -> list[tuple[str, np.ndarray]]:
    """Draw an image's codes: a colour a code on a 2D grid, and a column of bits a code in a sequence.

    Args:
        codes: int ``[H, W, K]`` or ``[L, K]``.
        sizes: Codes in each of the K codebooks.

    Returns:
        A title and a picture, uint8 ``[h, w, 3]``, for each of the first ``MOST_BOOKS`` codebooks.
    """
    flat, drawn = codes.ndim == 2, []
    for k in range(min(codes.shape[-1], MOST_BOOKS)):
        title = ("bits" if flat else "codes") + (f", codebook {k + 1}" if len(sizes) > 1 else "")
        drawn.append((title, _bits(codes[:, k], sizes[k]) if flat else distinct_colours(codes[..., k])))
    return drawn


def distinct_colours(codes: np.ndarray) -> np.ndarray:
    """Give every code a colour of its own; near codes get far colours, so that the picture tells codes apart and no more.

    Args:
        codes: int, any shape.

    Returns:
        uint8, one axis of 3 more than ``codes``.
    """
    golden, silver = (math.sqrt(5) - 1) / 2, math.sqrt(2) - 1
    hue = np.mod(codes * golden, 1.0)
    light = 0.34 + 0.42 * np.mod(codes * silver, 1.0)
    channels = [np.clip(np.abs(np.mod(hue * 6 + shift, 6) - 3) - 1, 0, 1) for shift in (0, 4, 2)]
    pure = np.stack(channels, axis=-1)
    spread = 0.75 * (1 - np.abs(2 * light - 1))[..., None]
    return np.round(255 * (light[..., None] + spread * (pure - 0.5))).astype(np.uint8)


def _bits(codes: np.ndarray, size: int) -> np.ndarray:
    """Every token a column of its bits, the lowest at the bottom; long sequences go on below, after a grey line."""
    width = max(1, math.ceil(math.log2(size)))
    bits = (codes[None, :] >> np.arange(width - 1, -1, -1)[:, None]) & 1
    return _wrapped(np.where(bits == 1, 28, 244).astype(np.uint8), 150)


def _changes(codes: np.ndarray, differs: np.ndarray, flat: bool) -> np.ndarray:
    """Changed positions in colour; kept ones as a pale picture of their first code, so that one knows where one is."""
    if flat:
        pale = np.full((*differs.shape, 3), KEPT[0], np.float64)
    else:
        grey = distinct_colours(codes[..., 0]).mean(axis=-1, keepdims=True) / 255
        pale = np.repeat(KEPT[0] + (KEPT[1] - KEPT[0]) * grey, 3, axis=-1)
    picture = np.where(differs[..., None], np.array(CHANGED, np.float64), pale).round().astype(np.uint8)
    if not flat:
        return picture
    bar = np.broadcast_to(picture[None], (4, len(picture), 3))
    return _stacked([bar[:, start : start + ROW] for start in range(0, len(picture), ROW)], np.full(3, 255, np.uint8))


def _wrapped(grey: np.ndarray, line: int) -> np.ndarray:
    pixels = np.repeat(grey[:, :, None], 3, axis=2)
    rows = [pixels[:, start : start + ROW] for start in range(0, pixels.shape[1], ROW)]
    return _stacked(rows, np.full(3, line, np.uint8))


def _stacked(rows: Sequence[np.ndarray], line: np.ndarray) -> np.ndarray:
    width = rows[0].shape[1]
    parts: list[np.ndarray] = []
    for i, row in enumerate(rows):
        if i:
            parts.append(np.broadcast_to(line, (1, width, 3)))
        if row.shape[1] < width:
            row = np.concatenate([row, np.broadcast_to(line, (row.shape[0], width - row.shape[1], 3))], axis=1)
        parts.append(row)
    return np.ascontiguousarray(np.concatenate(parts))
