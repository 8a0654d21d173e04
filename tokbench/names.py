"""Names of very many images in one piece of memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import overload

import numpy as np

WORD = 8
"""Bytes of texts that are compared at once."""


class Names(Sequence[str]):
    """A sequence of texts that takes their bytes and eight more each, where in a tuple each is an object of its own.

    It equals any list or tuple of the same texts.

    Args:
        text: All texts in UTF-8 behind each other, uint8; what was no text in the name of a file is the bytes it was.
        ends: Where each of them ends, int64, ascending.
    """

    __hash__ = None  # type: ignore[assignment]  # as that of a list: it equals lists

    def __init__(self, text: np.ndarray, ends: np.ndarray) -> None:
        """Take the arrays as they are."""
        self.text, self.ends = text, ends

    @classmethod
    def of(cls, texts: Iterable[str]) -> Names:
        """Gather texts, which are drawn one at a time; names stay what they are."""
        if isinstance(texts, Names):
            return texts
        gathered = Gathered()
        for one in texts:
            gathered.add(one)
        return gathered.names()

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...

    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self[number] for number in range(*index.indices(len(self))))
        number = range(len(self))[index]  # from the end where it is negative, an IndexError where it is beyond
        start = int(self.ends[number - 1]) if number else 0
        return self.text[start : int(self.ends[number])].tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        text, start = self.text.data, 0
        for end in self.ends.data:
            yield str(text[start:end], "utf-8", "surrogateescape")
            start = end

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Names | list | tuple):
            return NotImplemented
        if isinstance(other, Names):
            return np.array_equal(self.ends, other.ends) and np.array_equal(self.text, other.text)
        return len(self) == len(other) and all(own == there for own, there in zip(self, other, strict=True))

    def __repr__(self) -> str:
        shown = [repr(name) for name in self[:3]]
        return f"Names({', '.join(shown)}{', ...' * (len(self) > 3)}; {len(self)})"

    @cached_property
    def order(self) -> np.ndarray | None:
        """Places of the texts as Python sorts them, equal ones in the order they have; None where they stand so already."""
        if all(one <= other for one, other in pairwise(self)):
            return None
        if _are_text(self):
            return _sorted(self.text, self.ends)
        return np.array(sorted(range(len(self)), key=self.__getitem__), np.int64)  # what stands for other bytes sorts otherwise than these

    @cached_property
    def ranks(self) -> np.ndarray:
        """Number of each text among the different ones as Python sorts them, from 0, int32 ``[n]``."""
        found = np.empty(len(self), np.int32)
        before: str | None = None
        rank = -1
        for place, one in enumerate(self) if self.order is None else ((place, self[place]) for place in self.order.data):
            rank += one != before
            found[place] = rank
            before = one
        return found

    @cached_property
    def places(self) -> dict[str, int]:
        """Text to its place. It takes more memory than all else: made only where single texts are looked up."""
        return {name: place for place, name in enumerate(self)}


class Gathered:
    """Names that come one at a time."""

    def __init__(self) -> None:
        """Begin with none."""
        self._text, self._ends = bytearray(), array("q")

    def add(self, text: str) -> None:
        """Take in one more."""
        self._text += text.encode("utf-8", "surrogateescape")
        self._ends.append(len(self._text))

    def copy(self) -> Gathered:
        """Others that begin with those that came so far."""
        other = Gathered()
        other._text, other._ends = self._text[:], self._ends[:]
        return other

    def names(self) -> Names:
        """Those that came, which are all then."""
        return Names(np.frombuffer(self._text, np.uint8), np.frombuffer(self._ends, np.int64))


def first_repeated(texts: Sequence[str]) -> str | None:
    """The first text that was there before; None where all are different."""
    if all(one < other for one, other in pairwise(texts)):
        return None
    if int(Names.of(texts).ranks.max()) + 1 == len(texts):
        return None
    seen = set[str]()
    return next((one for one in texts if one in seen or seen.add(one)), None)  # type: ignore[func-returns-value]


def _are_text(names: Names) -> bool:
    try:
        for one in names:
            one.encode()
    except UnicodeEncodeError:
        return False
    return True


def _sorted(text: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Places of texts in the order of their bytes: by their first word, then by the next those that are equal so far, and so on."""
    starts = np.concatenate([[0], ends[:-1]])
    order = np.arange(len(ends))
    alike = np.arange(len(ends))  # where in the order those lie that have an equal one so far
    which = np.zeros(len(ends), np.int64)  # to whom each of them is equal
    offset = 0
    while len(alike):
        of = order[alike]
        length = np.minimum(ends[of] - starts[of] - offset, WORD)
        word = np.zeros(len(of), np.uint64)
        for byte in range(WORD):
            there = np.minimum(starts[of] + offset + byte, len(text) - 1)
            word = (word << np.uint64(8)) | np.where(byte < length, text[there], 0).astype(np.uint64)
        by = np.lexsort((length, word, which))
        order[alike] = of[by]
        length, word, which = length[by], word[by], which[by]
        same = (which[1:] == which[:-1]) & (word[1:] == word[:-1]) & (length[1:] == WORD) & (length[:-1] == WORD)
        kept = np.concatenate([same, [False]]) | np.concatenate([[False], same])
        which = np.cumsum(~np.concatenate([[False], same]))[kept]
        alike, offset = alike[kept], offset + WORD
    return order
