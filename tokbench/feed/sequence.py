"""Texts and images as one sequence of ids, in the form of Emu3.

::

    BOS {text} BOI {"H*W" as text} IMG  code ... code EOL   <- H rows of W positions, the last one ended too
                                        ...
                                        code ... code EOL  EOF EOI {text} ... EOS

A 1D grid has its length in place of ``H*W`` and no EOL. Sizes count positions of the grid, not pixels and not ids. Texts and images stand in
any order and number. Source: ``processing_emu3.py`` of baaivision/Emu3.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Int64
from torch import Tensor

from tokbench.feed.vocabulary import Vocabulary
from tokbench.tokens import DiscreteTokens

Part = str | DiscreteTokens
"""A text, or the tokens of one image."""

NO_PART = -1
"""Owner of what belongs to no part: BOS, padding."""


@dataclass(frozen=True)
class TokenSequence:
    """A sequence, and which part every step of it belongs to.

    Args:
        ids: ``[T]``, or ``[T, K]`` with parallel streams.
        owners: Index of the part, -1 for none. An image owns all from BOI to EOI; EOS belongs to the last part, which it ends.

    Raises:
        ValueError: If their lengths differ.
    """

    ids: Int64[Tensor, "t ..."]
    owners: Int64[Tensor, " t"]

    def __post_init__(self) -> None:
        if self.ids.ndim not in (1, 2) or self.owners.shape != self.ids.shape[:1]:
            raise ValueError(f"ids are [T] or [T, K] with owners [T], got {tuple(self.ids.shape)} and {tuple(self.owners.shape)}")

    def __len__(self) -> int:
        return len(self.ids)


def build(parts: Sequence[Part], vocabulary: Vocabulary, *, bos: bool = True, eos: bool = True) -> TokenSequence:
    """Write texts and images as a sequence.

    Args:
        parts: In their order. Each text is tokenized by itself, so one cut in two is not always the same ids as the whole.
        vocabulary: Meaning of the ids.
        bos: Begin with BOS.
        eos: End with EOS.

    Returns:
        The sequence, on the CPU.

    Raises:
        ValueError: If an image is not one image, or not of the vocabulary's codebooks and kind of grid.
        TokbenchError: If the text tokenizer cannot write a text.
    """
    pieces = [_part(part, index, vocabulary) for index, part in enumerate(parts)]
    owners = list(range(len(pieces)))
    if bos:
        pieces.insert(0, vocabulary.in_stream_0([vocabulary.special.bos]))
        owners.insert(0, NO_PART)
    if eos:
        pieces.append(vocabulary.in_stream_0([vocabulary.special.eos]))
        owners.append(len(parts) - 1)  # NO_PART if there are none
    return _join(pieces, owners, vocabulary)


def prompt(parts: Sequence[Part], vocabulary: Vocabulary, *, grid: tuple[int, ...] | None = None) -> TokenSequence:
    """Write what a model is to go on from with an image.

    Args:
        parts: Texts and images before it.
        vocabulary: Meaning of the ids.
        grid: Size of the image, in positions; None leaves it to the model.

    Returns:
        BOS, the parts and BOI; with a grid also its size and IMG. The image to come has the index behind the last part.

    Raises:
        ValueError: As ``build``, or if the grid is not of the vocabulary's kind.
        TokbenchError: As ``build``.
    """
    opening = vocabulary.in_stream_0([vocabulary.special.boi]) if grid is None else image_opening(grid, vocabulary)
    start = build(parts, vocabulary, eos=False)
    owners = torch.cat([start.owners, torch.full((len(opening),), len(parts))])
    return TokenSequence(torch.cat([start.ids, opening]), owners)


def image_opening(grid: tuple[int, ...], vocabulary: Vocabulary) -> Int64[Tensor, "t ..."]:
    """Write BOI, the size of a grid and IMG.

    Raises:
        ValueError: If the grid is not of the vocabulary's kind.
    """
    if len(grid) != vocabulary.grid_axes or min(grid) < 1:
        raise ValueError(f"grid {grid} has not the {vocabulary.grid_axes} positive numbers that this vocabulary's grids have")
    special = vocabulary.special
    return vocabulary.in_stream_0([special.boi, *vocabulary.text.encode("*".join(map(str, grid))), special.img])


def read_size(text: str, vocabulary: Vocabulary) -> tuple[int, ...] | None:
    """Read what stands between BOI and IMG.

    Args:
        text: As the text tokenizer decodes it; some put spaces between.
        vocabulary: Whose text tokenizer and kind of grid.

    Returns:
        The grid; None if it is none, or is spelled otherwise than ``build`` spells it.
    """
    found = "".join(text.split())
    form = r"\*".join(["[1-9][0-9]{0,8}"] * vocabulary.grid_axes)
    if not re.fullmatch(form, found) or text != vocabulary.text.decode(vocabulary.text.encode(found)):
        return None
    return tuple(map(int, found.split("*")))


def _part(part: Part, index: int, vocabulary: Vocabulary) -> Tensor:
    if isinstance(part, str):
        return vocabulary.in_stream_0(vocabulary.text.encode(part))
    if not isinstance(part, DiscreteTokens):
        raise ValueError(f"part {index} must be a text or DiscreteTokens, got {type(part).__name__}")
    if len(part) != 1:
        raise ValueError(f"part {index} must be one image, got a batch of {len(part)}")
    if part.codebook_sizes != vocabulary.codebook_sizes:
        raise ValueError(f"part {index} has codebooks {part.codebook_sizes}, the vocabulary has {vocabulary.codebook_sizes}")
    special = vocabulary.special
    codes = vocabulary.to_ids(part.codes[0].cpu())
    if vocabulary.grid_axes == 2:
        rows = rearrange(codes, "(h n) ... -> h n ...", h=part.grid[0])
        ends = vocabulary.in_stream_0([special.eol]).expand(len(rows), 1, *rows.shape[2:])
        codes = torch.cat([rows, ends], dim=1).flatten(0, 1)
    return torch.cat([image_opening(part.grid, vocabulary), codes, vocabulary.in_stream_0([special.eof, special.eoi])])


def _join(pieces: list[Tensor], owners: list[int], vocabulary: Vocabulary) -> TokenSequence:
    lengths = torch.tensor([len(piece) for piece in pieces], dtype=torch.int64)
    ids = torch.cat([vocabulary.in_stream_0([]), *pieces])
    return TokenSequence(ids, torch.tensor(owners, dtype=torch.int64).repeat_interleave(lengths))
