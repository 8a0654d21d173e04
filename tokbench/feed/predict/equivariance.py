"""Equivariance: whether a map of tokens that is mirrored, turned or halved decodes to the image so changed.

Generators find latents easier that move as images do. Each image is changed and then encoded and decoded; and its tokens are changed in the
same way and decoded. What the second loses against the first, in decibels of PSNR to the changed image, is the error. It is 0 of a tokenizer
that does not care which is done first. Halved latents are means of two by two; of codes, the code nearest to the mean of the vectors.

Source: EQ-VAE, Kouzelis et al. 2025 (arXiv 2502.09509). The error in decibels against encoding the changed image is this package's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor

from tokbench.conduct import Misbehaved, layout_of
from tokbench.errors import TokbenchError
from tokbench.feed.predict.encoded import Encoded, decoded, encode_all, on_another_size
from tokbench.feed.predict.pixels import CEILING, decibels
from tokbench.feed.predict.results import NotApplicable, Results
from tokbench.feed.predict.vectors import CodeVectors
from tokbench.records.protocol import Protocol
from tokbench.records.record import MetricResult
from tokbench.tokens import ContinuousTokens, DiscreteTokens, Tokens


@dataclass(frozen=True)
class Transformation:
    """One change of images, and of maps alike.

    Args:
        name: What figures are called by, behind ``equivariance_``.
        images: Changes bytes ``[B, 3, H, W]``.
        maps: Changes values ``[B, K, h, w]`` by moving them alone; None of halving, which makes new ones.
        words: What it is, for records.
    """

    name: str
    images: Callable[[Tensor], Tensor]
    maps: Callable[[Tensor], Tensor] | None
    words: str


def _mirrored(images: Tensor) -> Tensor:
    return images.flip(3)


def _turned(images: Tensor) -> Tensor:
    return images.rot90(1, (2, 3))


def halved_images(images: UInt8[Tensor, "b 3 h w"]) -> UInt8[Tensor, "b 3 i j"]:
    """Means of two by two pixels, rounded."""
    return F.avg_pool2d(images.float(), 2).round().to(torch.uint8)


TRANSFORMATIONS = (
    Transformation("flip", _mirrored, _mirrored, "left for right"),
    Transformation("rotation", _turned, _turned, "a quarter turn to the left"),
    Transformation("scale", halved_images, None, "half the size, means of two by two"),
)


def measure_equivariance(encoded: Encoded, codes: CodeVectors | None, why_not: str | None, results: Results) -> None:
    """Add the decibels lost by changing tokens in the place of images, for every transformation.

    Args:
        encoded: Images and their tokens.
        codes: Vectors of codes; None for latents, or of a tokenizer that has none.
        why_not: Why there are none.
        results: Where figures go; a size that the tokenizer does not take is its reason.

    Raises:
        NotApplicable: If the tokens are no map of rows and columns.
    """
    check_map(encoded)
    for change in TRANSFORMATIONS:
        key = f"equivariance_{change.name}"
        try:
            protocol = _protocol_of(encoded, change)
            tokens = _moved(encoded.tokens, change) if change.maps is not None else halved(encoded, codes, why_not)
            lost = _lost(encoded, change.images(encoded.pixels).contiguous(), tokens, protocol)
        except Misbehaved as error:
            results.figures[key] = MetricResult(reason=results.fail(error))
            continue
        except (NotApplicable, TokbenchError) as error:
            results.figures[key] = MetricResult(reason=str(error))
            continue
        about = {"change": change.words, "psnr_at_most": round(CEILING, 4)}
        results.per_image(key, lost, encoded.ids, encoded.groups, **about)


def check_map(encoded: Encoded) -> None:
    """Refuse tokens that are no map, or one of more than the image.

    Raises:
        NotApplicable: If they are a sequence, or images were padded.
    """
    if len(encoded.layout.grid) != 2:
        raise NotApplicable("the tokens are a sequence, which has no rows and columns")
    if any(encoded.layout.padding):
        raise NotApplicable(
            f"images of {encoded.protocol.size_text} px are padded, and what was padded would be turned too; take another --size"
        )


def halved(encoded: Encoded, codes: CodeVectors | None, why_not: str | None) -> Tokens:
    """A map of half as many rows and columns.

    Raises:
        NotApplicable: If rows or columns are odd, or codes have no vectors.
    """
    tokens, (rows, columns) = encoded.tokens, encoded.layout.grid
    if rows % 2 or columns % 2:
        raise NotApplicable(f"a map of {rows}x{columns} has no half")
    grid = (rows // 2, columns // 2)
    if isinstance(tokens, ContinuousTokens):
        means = F.avg_pool2d(rearrange(tokens.latents, "b (h w) c -> b c h w", h=rows).double(), 2)
        return ContinuousTokens(rearrange(means, "b c h w -> b (h w) c").to(tokens.latents.dtype).contiguous(), grid)
    if codes is None:
        raise NotApplicable(why_not or "the codes have no vectors")
    chance = np.stack([encoded.chance(image).random((grid[0] * grid[1], len(codes.tables))) for image in range(len(encoded))])
    blocks = rearrange(tokens.codes, "b (h p w q) k -> b (h w) (p q) k", h=grid[0], w=grid[1], p=2, q=2)
    books = []
    for book, table in enumerate(codes.tables):
        means = table[blocks[..., book]].double().mean(dim=2)
        found = codes.nearest(book, means.flatten(0, 1).float(), chance[..., book].ravel())
        books.append(found.unflatten(0, means.shape[:2]))
    return replace(tokens, codes=torch.stack(books, dim=-1), grid=grid)


def _moved(tokens: Tokens, change: Transformation) -> Tokens:
    assert change.maps is not None
    values = tokens.codes if isinstance(tokens, DiscreteTokens) else tokens.latents
    maps = change.maps(rearrange(values, "b (h w) k -> b k h w", h=tokens.grid[0]))
    moved, grid = rearrange(maps, "b k h w -> b (h w) k").contiguous(), (maps.shape[2], maps.shape[3])
    return replace(tokens, codes=moved, grid=grid) if isinstance(tokens, DiscreteTokens) else replace(tokens, latents=moved, grid=grid)


def _protocol_of(encoded: Encoded, change: Transformation) -> Protocol:
    """The protocol at the size of the changed images, where the tokenizer takes it and its maps shrink likewise."""
    (height, width), (rows, columns) = encoded.protocol.shape, encoded.layout.grid
    if change.maps is None:
        protocol, wanted = on_another_size(encoded.protocol, height // 2, width // 2), (rows / 2, columns / 2)
    else:
        protocol = on_another_size(encoded.protocol, *_shape_after(change, height, width))
        wanted = _shape_after(change, rows, columns)
    grid = layout_of(encoded.tokenizer, *protocol.shape).grid
    if grid != wanted:
        how = "half of" if change.maps is None else "as is changed so"
        raise NotApplicable(f"images of {protocol.size_text} px have maps of {'x'.join(map(str, grid))}, not {how} {rows}x{columns}")
    return protocol


def _shape_after(change: Transformation, rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns of a map that was mirrored or turned."""
    assert change.maps is not None
    found = change.maps(torch.empty(1, 1, rows, columns, device="meta"))
    return found.shape[2], found.shape[3]


def _lost(encoded: Encoded, images: Tensor, tokens: Tokens, protocol: Protocol) -> np.ndarray:
    """Decibels that changed tokens lose against those of changed images, by image."""
    again = encode_all(encoded.tokenizer, images, encoded.ids, protocol)
    lost, start = list[Tensor](), 0
    both = (decoded(encoded.tokenizer, some, encoded.ids, protocol) for some in (again, tokens))
    for best, found in zip(*both, strict=True):
        part = images[start : start + len(best)]
        lost.append(decibels(part, best) - decibels(part, found))
        start += len(best)
    return torch.cat(lost).numpy()
