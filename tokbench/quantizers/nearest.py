"""Exact search in a codebook, for the nearest row or the largest product, in memory bounded by one tile."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from tokbench.granted import presumed
from tokbench.linear import linear
from tokbench.quantizers.base import SAFE, single
from tokbench.tracing import traced

ROWS, COLUMNS = 2048, 1024
"""Tile of the search: 8 MB of float32 scores, since threads that share a smaller one meet too often."""

BLOCK = 32
"""Codebook rows of which only the largest score is found at first; below, its vectorized search stops paying."""

SMALL, MANY, SMALL_ROWS = 32, 8192, 256
"""Up to so many dimensions, scores cost more to write and search than to compute. From so many codebook rows on it pays to look for the
best block of them all before the best row in it. Tiles of so many queries then stay in the cache."""


@torch.no_grad()
def nearest_codes(
    vectors: Float[Tensor, "n d"],
    codebook: Float[Tensor, "k d"],
    *,
    rows: int = ROWS,
    columns: int = COLUMNS,
) -> Int64[Tensor, " n"]:
    """Find the codebook row with the smallest Euclidean distance to every vector.

    Minimising ``|z - e|^2`` is maximising ``z.e - |e|^2 / 2``: one matrix product per tile and a running best. Both sides
    are first shifted by the codebook's mean, which changes no distance but keeps a common offset from cancelling digits.

    Args:
        vectors: Queries.
        codebook: Rows to choose from.
        rows: Queries a tile.
        columns: Codebook rows a tile.

    Returns:
        Row numbers; of identical rows the lowest.
    """
    with torch.autocast(vectors.device.type, enabled=False):
        vectors, codebook = _searchable(vectors, codebook)
        centre = codebook.mean(dim=0)
        codebook = codebook - centre
        bias = codebook.square().sum(dim=1).mul_(-0.5)
        return _lowest_equal(_best(vectors, codebook, bias, centre, rows, columns), codebook)


@torch.no_grad()
def highest_codes(
    vectors: Float[Tensor, "n d"],
    codebook: Float[Tensor, "k d"],
    bias: Float[Tensor, " k"] | None = None,
    *,
    rows: int = ROWS,
    columns: int = COLUMNS,
) -> Int64[Tensor, " n"]:
    """Find the codebook row with the largest product with every vector.

    The codebook is first shifted by its mean, which changes all scores of a vector by the same amount.

    Args:
        vectors: Queries.
        codebook: Rows to choose from.
        bias: Added to the product with each row; None adds nothing.
        rows: Queries a tile.
        columns: Codebook rows a tile.

    Returns:
        Row numbers; of identical rows with identical bias the lowest.
    """
    with torch.autocast(vectors.device.type, enabled=False):
        vectors, codebook = _searchable(vectors, codebook)
        codebook = codebook - codebook.mean(dim=0)
        offset = codebook.new_zeros(len(codebook)) if bias is None else single(bias, "offsets of scores").to(codebook)
        codes = _best(vectors, codebook, offset, torch.zeros_like(codebook[0]), rows, columns)
        return _lowest_equal(codes, codebook if bias is None else torch.cat([codebook, offset[:, None]], dim=1))


def _searchable(vectors: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    """Both sides in single precision, or in double where products in single precision would overflow or vanish.

    Raises:
        TokbenchError: If a value is NaN or infinite.
    """
    vectors, codebook = single(vectors), single(codebook, "codebook values")
    if traced() or not vectors.numel() or codebook.device.type == "mps":
        return vectors, codebook
    spread = (codebook.amax(dim=0) - codebook.amin(dim=0)).amax()
    largest = torch.maximum(vectors.abs().amax(), codebook.abs().amax())
    if presumed((largest <= SAFE) & ((spread == 0) | (spread >= 1 / SAFE))):
        return vectors, codebook
    return vectors.double(), codebook.double()


def _best(vectors: Tensor, codebook: Tensor, bias: Tensor, centre: Tensor, rows: int, columns: int) -> Tensor:
    """The row with the largest ``(vector - centre) . row + bias``, in the way that takes least time."""
    blocks = codebook.shape[1] <= SMALL and len(codebook) >= MANY and codebook.device.type == "cpu" and not traced()
    search = _search_blocks if blocks else _search
    return search(vectors, codebook, bias, centre, rows, columns)


def _search_blocks(vectors: Tensor, codebook: Tensor, bias: Tensor, centre: Tensor, rows: int, columns: int) -> Tensor:
    """Find the best block of rows by its largest score, and then the row in it: scores are read once, along the queries.

    The bias is one dimension more, in which queries are 1, so that scores are written once too.
    """
    missing = -len(codebook) % BLOCK
    table = torch.cat([F.pad(codebook, (0, 0, 0, missing)), F.pad(bias, (0, missing), value=-torch.inf)[:, None]], dim=1)
    blocks, rows, step = table.view(-1, BLOCK, table.shape[1]), min(rows, SMALL_ROWS), max(1, columns // BLOCK)
    best = torch.empty(len(vectors), dtype=torch.int64)
    for start in range(0, len(vectors), rows):
        queries = F.pad(vectors[start : start + rows] - centre, (0, 1), value=1.0)
        turned = queries.T.contiguous()
        scores = queries.new_empty(step, BLOCK, len(queries))
        highest = queries.new_empty(len(blocks), len(queries))
        for first in range(0, len(blocks), step):
            tile = blocks[first : first + step]
            torch.mm(tile.flatten(0, 1), turned, out=scores[: len(tile)].view(-1, len(queries)))
            torch.amax(scores[: len(tile)], dim=1, out=highest[first : first + step])
        block = highest.max(dim=0).indices
        place = torch.bmm(blocks[block], queries[:, :, None]).squeeze(2).argmax(dim=1)
        best[start : start + rows] = block * BLOCK + place
    return best


def _search(vectors: Tensor, codebook: Tensor, bias: Tensor, centre: Tensor, rows: int, columns: int) -> Tensor:
    """Find the best row tile by tile: of a score, of which there are as many as queries and rows, one tile is in memory."""
    best = torch.empty(len(vectors), dtype=torch.int64, device=vectors.device)
    spans = [*range(0, len(codebook), columns), len(codebook)]
    whole = len(codebook) - len(codebook) % BLOCK
    if spans[-2] < whole < len(codebook):
        spans.insert(-1, whole)  # a tile that no blocks fill becomes two
    for start in range(0, len(vectors), rows):
        chunk = vectors[start : start + rows] - centre
        for first, end in pairwise(spans):
            tile_score, tile_code = _best_of_rows(linear(chunk, codebook[first:end], bias[first:end]))
            if first == 0:
                score, code = tile_score, tile_code
                continue
            better = tile_score > score
            score = torch.where(better, tile_score, score)
            code = torch.where(better, tile_code + first, code)
        best[start : start + rows] = code
    return best


def _best_of_rows(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The largest value of every row and its place, the first of equal ones.

    On a CPU a maximum alone takes a tenth of the time of one with its place, so that is looked for in the best block only.
    """
    rows, blocks = len(scores), scores.shape[1] // BLOCK
    if scores.device.type != "cpu" or blocks < 2 or scores.shape[1] % BLOCK:
        best = scores.max(dim=1)
        return best.values, best.indices
    scores = scores.view(rows * blocks, BLOCK)
    block = scores.amax(dim=1).view(rows, blocks).argmax(dim=1)
    value, place = scores.index_select(0, torch.arange(0, rows * blocks, blocks) + block).max(dim=1)
    return value, block * BLOCK + place


def _lowest_equal(codes: Tensor, codebook: Tensor) -> Tensor:
    """Replace every code by the lowest one whose row has the same values.

    Two copies of a row can score differently by a last digit, depending on their places in the matrix product. A traced graph takes
    them as they come.
    """
    if traced():
        return codes
    numbers = torch.arange(len(codebook), device=codebook.device)
    values = codebook + 0.0  # no negative zeros
    words = (values if values.shape[1] % 2 == 0 else F.pad(values, (0, 1))).contiguous().view(torch.int64)
    key, order = (
        (words * _odd(words.shape[1], words.device)).sum(dim=1).sort(stable=True)
    )  # equal rows, equal keys: an integer sum has no rounding
    starts = torch.cat([key.new_ones(1, dtype=torch.bool), key[1:] != key[:-1]])
    first = torch.empty_like(numbers)
    first[order] = order[torch.where(starts, numbers, 0).cummax(dim=0).values]
    lowest = first[codes]
    return torch.where((codebook[lowest] == codebook[codes]).all(dim=1), lowest, codes)


@cache
def _odd(count: int, device: torch.device) -> Int64[Tensor, " n"]:
    """Odd numbers drawn once for each device: sent there for every search, they would hold up the work queued there."""
    with torch.inference_mode(False):  # what is kept may meet gradients later
        return torch.randint(2**61, (count,), generator=torch.Generator().manual_seed(0)).to(device) * 2 + 1
