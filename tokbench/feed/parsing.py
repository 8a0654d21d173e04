"""Sequences of ids back to texts and images, naming the first id that does not belong where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Integer
from numpy import ndarray
from torch import Tensor

from tokbench.feed.sequence import NO_PART, Part, TokenSequence, read_size
from tokbench.feed.vocabulary import Vocabulary
from tokbench.tokens import DiscreteTokens

Ids = Integer[Tensor, "t ..."] | Integer[ndarray, "t ..."] | Sequence[int] | Sequence[Sequence[int]]
"""Whole numbers in one of the forms a sequence may have: a tensor, an array, a list (of lists)."""


class MalformedSequence(ValueError):
    """A sequence that is not of the form that ``build`` writes.

    Attributes:
        position: Index of the step that is wrong; the length of the sequence if it ends too early.
        expected: What would have been right there.
        found: What is there.
    """

    def __init__(self, position: int, expected: str, found: str) -> None:
        super().__init__(f"position {position}: expected {expected}, found {found}")
        self.position, self.expected, self.found = position, expected, found


@dataclass(frozen=True)
class Span:
    """Where a part stands.

    Args:
        start: Its first step.
        stop: Behind its last step.
        part: The text or image.
    """

    start: int
    stop: int
    part: Part


def parse(ids: Ids, vocabulary: Vocabulary, *, bos: bool = True, eos: bool = True) -> list[Part]:
    """Read a sequence.

    Args:
        ids: ``[T]``, or ``[T, K]`` with parallel streams, of any integer type; PAD before and behind is passed over.
        vocabulary: Meaning of the ids.
        bos: Whether it must begin with BOS; else it may.
        eos: Whether it must end with EOS; else it may, and otherwise ends behind a whole part.

    Returns:
        What ``build`` was given, on the CPU; texts that follow each other come back as one, empty ones not at all.

    Raises:
        MalformedSequence: At the first id that does not belong where it stands, e.g. ``position 17: expected EOL after row 2 of a 3*4
            image, found code 5 of codebook 0``.
        TypeError: If the ids are no whole numbers.
        ValueError: If the shape is not that of the vocabulary's sequences.
    """
    return [span.part for span in _Reader(ids, vocabulary).spans(bos, eos)]


def annotate(ids: Ids, vocabulary: Vocabulary, *, bos: bool = True, eos: bool = True) -> TokenSequence:
    """Find out which part every step of a sequence belongs to; arguments and errors are those of ``parse``.

    Returns:
        The sequence as ``build`` made it, with parts counted as ``parse`` returns them.
    """
    reader = _Reader(ids, vocabulary)
    spans = list(reader.spans(bos, eos))
    owners = torch.full((len(reader.ids),), NO_PART)
    for index, span in enumerate(spans):
        owners[span.start : span.stop] = index
    owners[reader.lead == vocabulary.special.eos] = len(spans) - 1
    return TokenSequence(reader.ids, owners)


def _as_tensor(ids: Any) -> Tensor:
    """Ids on the CPU, int64.

    Raises:
        TypeError: If they are no whole numbers.
    """
    if isinstance(ids, str):
        raise TypeError("ids are whole numbers, got a text; build makes ids of texts")
    if isinstance(ids, Sequence) and not len(ids):
        ids = torch.empty(0, dtype=torch.int64)
    try:
        found = torch.as_tensor(ids)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"ids are whole numbers in a tensor, an array or a list, got {type(ids).__name__} ({error})") from error
    if found.dtype == torch.bool or found.is_floating_point() or found.is_complex():
        raise TypeError(f"ids are whole numbers, got {found.dtype}")
    return found.to("cpu", torch.int64)


class _Reader:
    """Goes through a sequence from part to part; never from id to id."""

    def __init__(self, ids: Ids, vocabulary: Vocabulary) -> None:
        ids = _as_tensor(ids)
        shape = (vocabulary.codebooks,) if vocabulary.parallel else ()
        if ids.ndim == 0 or ids.shape[1:] != shape:
            raise ValueError(f"this vocabulary's sequences have shape {('T', *shape)}, got {tuple(ids.shape)}")
        self.vocabulary, self.special = vocabulary, vocabulary.special
        self.ids = ids
        self.lead = vocabulary.stream_0(self.ids)
        self.streams = self.ids if vocabulary.parallel else self.ids[:, None]
        self.lonely = (self.streams[:, 1:] == self.special.pad).all(dim=1)
        filled = ((self.lead != self.special.pad) | ~self.lonely).nonzero()
        self.at, self.end = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 0)

    def spans(self, bos: bool, eos: bool) -> Iterator[Span]:
        if bos or self.peek() == self.special.bos:
            self.take(self.special.bos, "BOS")
        while self.at < self.end and self.peek() != self.special.eos:
            start = self.at
            if self.peek() == self.special.boi:
                part: Part = self.image()
            else:
                part = self.text("text, BOI or EOS")
            yield Span(start, self.at, part)
        if eos or self.at < self.end:
            self.take(self.special.eos, "text, BOI or EOS")
        if self.at < self.end:
            raise self.malformed("nothing but PAD behind EOS")

    def peek(self) -> int | None:
        return int(self.lead[self.at]) if self.at < self.end else None

    def take(self, number: int, expected: str) -> None:
        if self.peek() != number or not self.lonely[self.at]:
            raise self.malformed(expected)
        self.at += 1

    def text(self, expected: str) -> str:
        ends = (~self.vocabulary.is_text(self.lead[self.at : self.end])).nonzero()
        start, self.at = self.at, self.at + int(ends[0]) if len(ends) else self.end
        crowded = (~self.lonely[start : self.at]).nonzero()
        if self.at == start or len(crowded):
            self.at = start + (int(crowded[0]) if len(crowded) else 0)
            raise self.malformed(expected)
        try:
            return self.vocabulary.text.decode(self.lead[start : self.at].tolist())
        except ValueError as error:
            self.at = start
            raise self.malformed(expected, f"ids that are none: {error}") from error

    def image(self) -> DiscreteTokens:
        axes = self.vocabulary.grid_axes
        form = "a size such as 16*16" if axes == 2 else "a size such as 256"
        self.take(self.special.boi, "BOI")
        start = self.at
        size = self.text(form)
        grid = read_size(size, self.vocabulary)
        if grid is None:
            self.at = start
            raise self.malformed(form, f"the text {size!r}")
        self.take(self.special.img, "IMG behind the size")
        codes = self.codes(grid)
        image = f"the codes of a {size} image"
        self.take(self.special.eof, f"EOF behind {image}")
        self.take(self.special.eoi, f"EOI behind {image} and EOF")
        return DiscreteTokens(codes[None], grid, self.vocabulary.codebook_sizes)

    def codes(self, grid: tuple[int, ...]) -> Tensor:
        vocabulary = self.vocabulary
        rows, columns = grid if len(grid) == 2 else (1, grid[0])
        width, ended = columns * vocabulary.steps_per_position, len(grid) == 2
        length = rows * (width + ended)
        block = self.ids[self.at : min(self.at + length, self.end)]
        low, high = self.bounds(len(block), width, ended)
        wrong = ((block < low) | (block >= high)).nonzero()
        if len(wrong) or len(block) < length:
            place, stream = (*wrong[0].tolist(), 0)[:2] if len(wrong) else (len(block), 0)
            row, slot = divmod(place, width + ended)
            image = f"a {'*'.join(map(str, grid))} image"
            column, book = divmod(slot, vocabulary.steps_per_position)
            where = f"row {row}, column {column}" if ended else f"position {column}"
            what = f"a code of codebook {stream if vocabulary.parallel else book}"
            self.at += place
            raise self.malformed(f"EOL after row {row} of {image}" if slot == width else f"{what} at {where} of {image}", stream=stream)
        self.at += length
        if ended:
            block = rearrange(block, "(h n) ... -> h n ...", h=rows)[:, :-1].flatten(0, 1)
        return vocabulary.to_codes(block)

    def bounds(self, count: int, width: int, ended: bool) -> tuple[Tensor, Tensor]:
        """The least id, and the one behind the greatest, that each of the first ``count`` steps behind IMG may have."""
        vocabulary = self.vocabulary
        offsets, sizes = torch.tensor(vocabulary.offsets), torch.tensor(vocabulary.codebook_sizes)
        if vocabulary.parallel:
            offsets, sizes = offsets[None], sizes[None]
        slot = torch.arange(count) % (width + ended)
        book = slot % vocabulary.steps_per_position
        low, high = offsets[book], offsets[book] + sizes[book]
        end = vocabulary.in_stream_0([self.special.eol])
        low[slot == width], high[slot == width] = end, end + 1
        return low, high

    def malformed(self, expected: str, found: str = "", *, stream: int = 0) -> MalformedSequence:
        if found:
            return MalformedSequence(self.at, expected, found)
        if self.at >= self.end:
            return MalformedSequence(self.at, expected, "the end of the sequence")
        if stream == 0 and not self.lonely[self.at]:
            return MalformedSequence(self.at, expected, f"ids {self.streams[self.at].tolist()}, one a stream")
        name = self.vocabulary.name(int(self.streams[self.at, stream]), stream)
        return MalformedSequence(self.at, expected, f"{name} in stream {stream}" if self.vocabulary.parallel else name)
