"""The vectors that codes stand for, codebook by codebook, out of any tokenizer that has some: what is near to what.

Where there is one codebook, the vector of a position is a row of a table. Where there are several, residual quantizers add a row of each.
Product quantizers and those of signs write them side by side, which is adding rows that are 0 elsewhere. So one table a codebook says it all:
what the vector is with each of its codes, the other codebooks being at code 0. Whether that holds is tried on codes of the images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy import ndarray
from torch import Tensor

from tokbench.conduct import blamed, name_of
from tokbench.errors import TokbenchError
from tokbench.feed.predict.encoded import Encoded
from tokbench.feed.predict.results import NotApplicable
from tokbench.tokens import ContinuousTokens, DiscreteTokens

MOST_CODES = 1 << 18
"""Codes of all codebooks at most whose vectors are held."""

TOGETHER = 1 << 24
"""Distances held at once."""

TIE = 1e-5
"""Share of a squared distance, or of what lies between two signs, within which codes are equally near: single precision may round it."""

CHANGES = 1e-6
"""Share of the largest value of a table by which the values of a channel differ at least, if it is one that changes."""


@dataclass(frozen=True)
class CodeVectors:
    """Vectors of the codes of every codebook.

    Args:
        tables: One a codebook, ``[S, D]``: the vector with each of its codes, the others at code 0.
    """

    tables: tuple[Float[Tensor, "_ d"], ...]

    def of(self, codes: Int64[Tensor, "*l k"]) -> Float[Tensor, "*l d"]:
        """Vectors of codes, by the tables alone."""
        found = self.tables[0][codes[..., 0]]
        for book, table in enumerate(self.tables[1:], start=1):
            found = found + table[codes[..., book]] - table[0]
        return found

    def neighbours(self, book: int, codes: Int64[Tensor, " u"], count: int) -> Int64[Tensor, "u n"]:
        """The nearest other codes of some codes of a codebook, nearest first.

        Args:
            book: Which codebook.
            codes: Some of its codes.
            count: How many neighbours; of a smaller codebook there are fewer.
        """
        table = self.tables[book].double()
        count = min(count, len(table) - 1)
        found = [torch.empty(0, count, dtype=torch.int64)]
        for part in codes.split(max(1, TOGETHER // len(table))):
            distances = _squared_distances(table[part], table)
            distances[torch.arange(len(part)), part] = math.inf
            found.append(distances.topk(count, largest=False).indices)
        return torch.cat(found)

    def nearest(self, book: int, points: Float[Tensor, "n d"], chance: Float[ndarray, " n"]) -> Int64[Tensor, " n"]:
        """The code of a codebook whose vector is nearest to each point; of equally near ones, one by chance.

        Args:
            book: Which codebook.
            points: Places among its vectors.
            chance: A number from 0 to 1 for each, which decides between equally near codes.
        """
        table, drawn, signs = self.tables[book].double(), torch.from_numpy(np.asarray(chance)), self.bits[book]
        if signs is not None:
            return _nearest_signs(table, signs, points.double(), drawn)
        found = [torch.empty(0, dtype=torch.int64)]
        size = max(1, TOGETHER // len(table))
        for part, number in zip(points.double().split(size), drawn.split(size), strict=True):
            distances = _squared_distances(part, table)
            least = distances.amin(dim=1, keepdim=True)
            near = distances <= least + TIE * (least + part.square().sum(dim=1, keepdim=True))
            order = near.cumsum(dim=1)
            wanted = 1 + (number * order[:, -1]).floor().clamp(max=order[:, -1] - 1)
            found.append(((order == wanted[:, None]) & near).int().argmax(dim=1))
        return torch.cat(found)

    @cached_property
    def bits(self) -> tuple[Bool[Tensor, "_ c"] | None, ...]:
        """What each code is in bits ``[S, C]``, of codebooks whose codes are all signs of C channels; None of another codebook."""
        return tuple(map(_signs, self.tables))


def code_vectors(encoded: Encoded) -> CodeVectors:
    """Ask a tokenizer for the vectors of all its codes.

    Args:
        encoded: Images as codes.

    Raises:
        NotApplicable: If it has none, too many, or such as depend on more than each codebook's code.
    """
    tokens, tokenizer, layout = encoded.tokens, encoded.tokenizer, encoded.layout
    if not isinstance(tokens, DiscreteTokens):
        raise ValueError("latents are vectors already")
    sizes = layout.codebook_sizes
    if sum(sizes) > MOST_CODES:
        raise NotApplicable(f"{sum(sizes):,} codes are more than the {MOST_CODES:,} whose vectors are compared")
    tables = []
    for book, size in enumerate(sizes):
        images = -(-size // layout.positions)
        codes = torch.zeros(images * layout.positions, len(sizes), dtype=torch.int64)
        codes[:size, book] = torch.arange(size)
        batch = DiscreteTokens(codes.reshape(images, layout.positions, len(sizes)), layout.grid, sizes)
        tables.append(_embedded(encoded, batch).flatten(0, 1)[:size])
    found = CodeVectors(tuple(tables))
    some = tokens[: encoded.protocol.micro_batch]
    if not torch.allclose(found.of(some.codes), _embedded(encoded, some), rtol=1e-3, atol=1e-3 * float(tables[0].abs().max())):
        raise NotApplicable(f"the vectors of {name_of(tokenizer)} depend on more than the code of each codebook")
    return found


def vectors_of(encoded: Encoded, codes: CodeVectors | None) -> Float[Tensor, "b l d"]:
    """Latents as they are, or the vectors of codes; in single precision.

    Args:
        encoded: Images and their tokens.
        codes: Vectors of codes; None for latents.
    """
    if isinstance(encoded.tokens, ContinuousTokens):
        return encoded.tokens.latents.float()
    if codes is None:
        raise ValueError("codes need their vectors")
    return codes.of(encoded.tokens.codes)


def _embedded(encoded: Encoded, tokens: DiscreteTokens) -> Tensor:
    name, size = name_of(encoded.tokenizer), encoded.protocol.micro_batch
    found = []
    try:
        with blamed(name, "embed", may_refuse=True):
            for start in range(0, len(tokens), size):
                found.append(encoded.tokenizer.embed(tokens[start : start + size].to(encoded.tokenizer.device)).float().cpu())
    except TokbenchError as error:
        raise NotApplicable(str(error)) from error
    vectors = torch.cat(found)
    if vectors.ndim != 3 or vectors.shape[:2] != tokens.codes.shape[:2]:
        raise NotApplicable(f"embed of {name} gives {tuple(vectors.shape)}, not one vector a position")
    return vectors


def _squared_distances(points: Tensor, table: Tensor) -> Tensor:
    """In double precision, as sums of squares and products; at least 0."""
    return (points.square().sum(dim=1)[:, None] + table.square().sum(dim=1) - 2 * points @ table.T).clamp_(min=0)


def codes_of_signs(signs: Bool[Tensor, "s c"]) -> Int64[Tensor, " s"]:
    """The code of every combination of signs, at the number that has these as its binary digits, the first channel lowest.

    Args:
        signs: Signs of every code, each combination once.
    """
    found = torch.empty(len(signs), dtype=torch.int64)
    found[number_of_signs(signs)] = torch.arange(len(signs))
    return found


def number_of_signs(signs: Bool[Tensor, "*l c"]) -> Int64[Tensor, "*l"]:
    """The number that has signs as its binary digits, the first channel lowest."""
    return (signs.long() << torch.arange(signs.shape[-1])).sum(dim=-1)


def _nearest_signs(table: Tensor, signs: Tensor, points: Tensor, chance: Tensor) -> Tensor:
    """Nearest codes where codes are signs: channel by channel, without a search; what lies in the middle of two values is drawn."""
    low, high = table.amin(dim=0), table.amax(dim=0)
    changing = (high - low) > CHANGES * table.abs().amax()
    above = points[:, changing] - ((low + high) / 2)[changing]
    coins = ((chance * len(table)).long().clamp(max=len(table) - 1)[:, None] >> torch.arange(signs.shape[1])) & 1
    found = torch.where(above.abs() <= TIE * (high - low)[changing], coins.bool(), above > 0)
    return codes_of_signs(signs)[number_of_signs(found)]


def _signs(table: Tensor) -> Tensor | None:
    """Which of its two values each channel that changes has; None unless every combination of them is one code."""
    low, high = table.amin(dim=0), table.amax(dim=0)
    changing = (high - low) > CHANGES * table.abs().amax()
    span = (high - low)[changing]
    places = (table[:, changing] - low[changing]) / span
    signs = places > 0.5
    two = bool(((places - signs.float()).abs() < 1e-3).all())
    count = int(changing.sum())
    if not two or count < 2 or count > 18 or len(table) != 1 << count:
        return None
    return signs if len(number_of_signs(signs).unique()) == len(table) else None
