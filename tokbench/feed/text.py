"""Text as ids below a known size and back: the contract, and the byte-level tokenizer that is always there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal


class TextTokenizer(ABC):
    """Turns text into ids in ``range(size)``, none of which is special, whatever the text spells."""

    size: int
    """Ids ``0 .. size - 1`` belong to it."""

    reserved: tuple[int, ...] = ()
    """Ids below ``size`` that stand for no text, such as a language model's own special tokens, in ascending order."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Turn text into ids.

        Args:
            text: Any text; names of special tokens in it are letters like others.

        Raises:
            ValueError: If it is no valid Unicode (lone surrogates).
            TokbenchError: If it holds what can only be written with a reserved id, or the tokenizer cannot be run.
        """

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Turn ids into text; bytes that are no UTF-8, as a model may emit them, become U+FFFD.

        Raises:
            ValueError: If an id stands for no text.
            TokbenchError: If the tokenizer cannot be run.
        """

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Its identity as plain JSON values, under ``kind`` which kind it is."""


@dataclass(frozen=True)
class ByteText(TextTokenizer):
    """UTF-8 bytes, 256 ids; needs no file and keeps every text exactly.

    Args:
        alphabet: Which byte an id is: its ``value``; or its rank in the alphabet of ``gpt2``, printable bytes first, with which the
            vocabularies of GPT-2, Qwen and Emu3 begin.

    Raises:
        ValueError: If there is no such alphabet.
    """

    alphabet: Literal["value", "gpt2"] = "value"
    size = 256  # no field: without annotation

    def __post_init__(self) -> None:
        if self.alphabet not in ("value", "gpt2"):
            raise ValueError(f"alphabet is value or gpt2, got {self.alphabet!r}")

    def encode(self, text: str) -> list[int]:
        """Return one id for every byte."""
        return list(text.encode().translate(self._ranks))

    def decode(self, ids: Sequence[int]) -> str:
        """Join the bytes."""
        check_ids(ids, self.size)
        return bytes(ids).translate(self._bytes).decode(errors="replace")

    def to_dict(self) -> dict[str, Any]:
        """Kind and alphabet."""
        return {"kind": "bytes", "alphabet": self.alphabet}

    @cached_property
    def _bytes(self) -> bytes:
        """The byte of every id."""
        if self.alphabet == "value":
            return bytes(range(256))
        shown = [byte for byte in range(256) if chr(byte).isprintable() and not chr(byte).isspace()]
        return bytes([*shown, *(byte for byte in range(256) if byte not in shown)])

    @cached_property
    def _ranks(self) -> bytes:
        """The id of every byte."""
        return bytes(self._bytes.index(byte) for byte in range(256))


def check_ids(ids: Iterable[int], size: int, reserved: Iterable[int] = ()) -> None:
    """Refuse ids that stand for no text.

    Raises:
        ValueError: If an id is reserved or not in ``range(size)``.
    """
    reserved = set(reserved)
    for number in ids:
        if not 0 <= number < size or number in reserved:
            raise ValueError(f"id {number} stands for no text")
