"""Names of very many images in one piece of memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np


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
        """Gather texts, which are drawn one at a time."""
        text, ends = bytearray(), array("q")
        for one in texts:
            text += one.encode("utf-8", "surrogateescape")
            ends.append(len(text))
        return cls(np.frombuffer(bytes(text), np.uint8), np.frombuffer(ends.tobytes(), np.int64))

    @classmethod
    def joined(cls, parts: Iterable[Names]) -> Names:
        """Put names behind each other."""
        text, ends = bytearray(), array("q")
        for part in parts:
            ends.frombytes((part.ends + len(text)).tobytes())
            text += part.text.tobytes()
        return cls(np.frombuffer(bytes(text), np.uint8), np.frombuffer(ends.tobytes(), np.int64))

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
        return (self[number] for number in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Names | list | tuple):
            return NotImplemented
        return len(self) == len(other) and all(own == there for own, there in zip(self, other, strict=True))

    def __repr__(self) -> str:
        shown = [repr(name) for name in self[:3]]
        return f"Names({', '.join(shown)}{', ...' * (len(self) > 3)}; {len(self)})"
