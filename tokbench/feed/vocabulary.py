"""The numbering of a language model that reads and writes images: text, special tokens and visual codes in one range of ids.

::

    0 ........ text.size | BOS EOS PAD BOI IMG EOI EOL EOF | codebook 0 | codebook 1 | ...      Vocabulary.over(...)
    0 .. 151642 text | .. 151643 PAD .. 151846 EOL .. 151853 EOI | 151854 .. 184621 codes       Vocabulary.emu3()

With several codebooks a position is K ids in a row (``flat``), each codebook in a range of its own. Or it is one step of K parallel
streams (``parallel``), for models with K heads. There all codebooks share one range, and a step of text has its id in stream 0 and PAD in
the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Int64
from torch import Tensor

from tokbench.configs import plain
from tokbench.errors import TokbenchError
from tokbench.feed.job import TokenizerIdentity
from tokbench.feed.special import EMU3_CODES, EMU3_FIRST_CODE, EMU3_SPECIAL, EMU3_TEXT_SIZE, SpecialIds
from tokbench.feed.text import ByteText, TextTokenizer
from tokbench.layout import TokenLayout
from tokbench.tokenizers.emu3.variants import FAMILY as EMU3


@dataclass(frozen=True)
class Vocabulary:
    """What every id means.

    Args:
        special: Ids of special tokens.
        text: The text tokenizer; its ids are ``0 .. text.size - 1``.
        image_tokenizer: Which image tokenizer the codes are of, see ``tokbench.feed.encoding.identify``.
        codebook_sizes: K sizes.
        offsets: Id of code 0 of every codebook.
        grid_axes: 2 for images of rows, each ended by EOL; 1 for images that are a plain row of codes.
        arrangement: ``flat``, K ids a position; or ``parallel``, K streams.

    Raises:
        ValueError: If a value is not allowed, or ids have two meanings.
    """

    special: SpecialIds
    text: TextTokenizer
    image_tokenizer: TokenizerIdentity
    codebook_sizes: tuple[int, ...]
    offsets: tuple[int, ...]
    grid_axes: int = 2
    arrangement: Literal["flat", "parallel"] = "flat"

    def __post_init__(self) -> None:
        if not self.codebook_sizes or min(self.codebook_sizes) < 2 or len(self.offsets) != len(self.codebook_sizes):
            raise ValueError(f"there is one offset for each codebook of 2 codes or more, got {self.offsets} for {self.codebook_sizes}")
        if self.grid_axes not in (1, 2) or self.arrangement not in ("flat", "parallel"):
            raise ValueError(f"grids have 1 or 2 axes and are flat or parallel, got {self.grid_axes} and {self.arrangement!r}")
        ranges = [range(start, start + size) for start, size in zip(self.offsets, self.codebook_sizes, strict=True)]
        if min(self.offsets) < self.text.size:
            raise ValueError(f"codes begin at id {min(self.offsets)}, within text, which ends at id {self.text.size - 1}")
        in_order = sorted(ranges, key=lambda ids: ids.start)
        if not self.parallel and any(ids.stop > following.start for ids, following in pairwise(in_order)):
            raise ValueError(f"codebooks share ids: offsets {self.offsets}, sizes {self.codebook_sizes}")
        for number in self.special.all:
            meanings = [f"a code of codebook {k}" for k, ids in enumerate(ranges) if number in ids]
            if number < self.text.size and number not in self.text.reserved:
                meanings.append("text")
            if meanings:
                raise ValueError(f"{self.special.name(number)} has id {number}, which is {meanings[0]}")

    @classmethod
    def emu3(cls, text: TextTokenizer | None = None, *, image_tokenizer: TokenizerIdentity | None = None) -> Vocabulary:
        """Emu3's own numbering, 184622 ids.

        Args:
            text: Emu3's text tokenizer, ``FileText.open(path, size=EMU3_TEXT_SIZE)``. None writes text byte by byte with the ids Emu3 has
                for single bytes. Sizes of images come out as Emu3 writes them, other text as more and rarer ids than Emu3 was trained on.
            image_tokenizer: None stands for ``emu3/vision`` as published, whatever its weights.

        Raises:
            ValueError: If the text tokenizer has more than Emu3's 151643 ids.

        Source: ``tokenization_emu3.py`` of baaivision/Emu3.
        """
        text = text or ByteText("gpt2")
        if text.size > EMU3_TEXT_SIZE:
            raise ValueError(f"Emu3's text has {EMU3_TEXT_SIZE} ids, this tokenizer {text.size}; open it with size=EMU3_TEXT_SIZE")
        published = EMU3.variants[0]
        identity = image_tokenizer or TokenizerIdentity(f"{EMU3.name}/{published.name}", plain(published.config), None)
        return cls(EMU3_SPECIAL, text, identity, (EMU3_CODES,), (EMU3_FIRST_CODE,))

    @classmethod
    def over(
        cls,
        text: TextTokenizer,
        layout: TokenLayout,
        image_tokenizer: TokenizerIdentity,
        *,
        arrangement: Literal["flat", "parallel"] = "flat",
    ) -> Vocabulary:
        """Number any image tokenizer's codes behind any text tokenizer's ids.

        Args:
            text: Text tokenizer; its ids come first and keep their numbers.
            layout: The image tokenizer's, of an image of any size.
            image_tokenizer: Which it is.
            arrangement: ``flat`` or ``parallel``.

        Raises:
            TokbenchError: If the tokens are continuous, or on a grid of more than two axes.
        """
        if not layout.discrete or len(layout.grid) > 2:
            given = f"tokens on a grid of {len(layout.grid)} axes" if layout.discrete else "continuous latents"
            raise TokbenchError(f"{image_tokenizer.name} makes {given}; ids need a tokenizer with codebooks and one or two axes")
        special, sizes = SpecialIds.starting_at(text.size), layout.codebook_sizes
        first = max(special.all) + 1
        offsets = tuple(accumulate(sizes[:-1], initial=first)) if arrangement == "flat" else (first,) * len(sizes)
        return cls(special, text, image_tokenizer, sizes, offsets, len(layout.grid), arrangement)

    @property
    def size(self) -> int:
        """How many ids there are (in a stream, if parallel): what the model's embedding and heads must have at least."""
        ends = (start + size for start, size in zip(self.offsets, self.codebook_sizes, strict=True))
        return max(*self.special.all, self.text.size - 1, *(end - 1 for end in ends)) + 1

    @property
    def codebooks(self) -> int:
        """K, codes a position."""
        return len(self.codebook_sizes)

    @property
    def parallel(self) -> bool:
        """Whether a sequence is ``[T, K]`` and not ``[T]``."""
        return self.arrangement == "parallel"

    @property
    def steps_per_position(self) -> int:
        """How many steps of a sequence a position of an image takes."""
        return 1 if self.parallel else self.codebooks

    def id_of(self, codebook: int, code: int) -> int:
        """Id of one code.

        Raises:
            ValueError: If there is no such code.
        """
        if not (0 <= codebook < self.codebooks and 0 <= code < self.codebook_sizes[codebook]):
            raise ValueError(f"there is no code {code} of codebook {codebook}; the sizes are {self.codebook_sizes}")
        return self.offsets[codebook] + code

    def to_ids(self, codes: Int64[Tensor, "*b l k"]) -> Int64[Tensor, "..."]:
        """Number codes.

        Args:
            codes: As in ``DiscreteTokens``.

        Returns:
            ``[*b, L * K]`` if flat, position major; ``[*b, L, K]`` if parallel.

        Raises:
            ValueError: If a code is outside of its codebook.
        """
        if codes.shape[-1] != self.codebooks:
            raise ValueError(f"codes have {codes.shape[-1]} codebooks, the vocabulary has {self.codebooks}")
        wrong = (codes < 0) | (codes >= codes.new_tensor(self.codebook_sizes))
        if wrong.any():
            *_, book = wrong.nonzero()[0].tolist()
            raise ValueError(f"there is no code {int(codes[wrong][0])} of codebook {book}; the sizes are {self.codebook_sizes}")
        ids = codes + codes.new_tensor(self.offsets)
        return ids if self.parallel else rearrange(ids, "... l k -> ... (l k)")

    def to_codes(self, ids: Int64[Tensor, "..."]) -> Int64[Tensor, "*b l k"]:
        """Undo ``to_ids``.

        Raises:
            ValueError: If an id is not a code of the codebook whose turn it is, or a position is not whole.
        """
        if ids.shape[-1] % self.codebooks or (self.parallel and ids.shape[-1] != self.codebooks):
            raise ValueError(f"ids of shape {tuple(ids.shape)} are no whole positions of {self.codebooks} codebooks")
        numbers = ids if self.parallel else rearrange(ids, "... (l k) -> ... l k", k=self.codebooks)
        codes = numbers - numbers.new_tensor(self.offsets)
        wrong = (codes < 0) | (codes >= codes.new_tensor(self.codebook_sizes))
        if wrong.any():
            *_, position, book = wrong.nonzero()[0].tolist()
            raise ValueError(f"position {position} has {self.name(int(numbers[wrong][0]), book)} where a code of codebook {book} belongs")
        return codes

    def locate(self, ids: Int64[Tensor, "..."]) -> tuple[Int64[Tensor, "..."], Int64[Tensor, "..."]]:
        """Say of every id which codebook and code it is; -1 for both where it is none. Parallel ids end in an axis of K streams."""
        low, sizes = ids.new_tensor(self.offsets), ids.new_tensor(self.codebook_sizes)
        if self.parallel:
            book = torch.arange(self.codebooks, device=ids.device).expand_as(ids)
            visual = (ids >= low) & (ids < low + sizes)
        else:
            inside = (ids[..., None] >= low) & (ids[..., None] < low + sizes)
            book, visual = inside.long().argmax(dim=-1), inside.any(dim=-1)
        return book.where(visual, -1), (ids - low[book]).where(visual, -1)

    def is_text(self, ids: Int64[Tensor, "*n"]) -> Bool[Tensor, "*n"]:
        """Say of every id whether it is text."""
        return (ids >= 0) & (ids < self.text.size) & ~torch.isin(ids, ids.new_tensor(self.text.reserved))

    def in_stream_0(self, ids: Sequence[int]) -> Int64[Tensor, "..."]:
        """Make steps of ids that are no codes: ``[T]`` as they are if flat; else ``[T, K]``, PAD in all streams but the first."""
        steps = torch.tensor(ids, dtype=torch.int64)
        if not self.parallel:
            return steps
        filled = steps.new_full((len(steps), self.codebooks), self.special.pad)
        filled[:, 0] = steps
        return filled

    def stream_0(self, ids: Int64[Tensor, "..."]) -> Int64[Tensor, " t"]:
        """Return what says of every step of a sequence whether it is text, code or special: its only id, or that of the first stream."""
        return ids[:, 0] if self.parallel else ids

    def name(self, number: int, stream: int = 0) -> str:
        """Say in words what an id means, for messages."""
        special = self.special.name(number)
        if special:
            return special
        for k, (start, size) in enumerate(zip(self.offsets, self.codebook_sizes, strict=True)):
            if start <= number < start + size and (not self.parallel or k == stream):
                return f"code {number - start} of codebook {k}"
        if 0 <= number < self.text.size:
            return f"{'reserved' if number in self.text.reserved else 'text'} id {number}"
        return f"id {number}, which has no meaning"
