"""How an export is written for a trainer, and what follows from it: vocabulary, text, loss, type of the ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from tokbench.feed.text import TextTokenizer
from tokbench.feed.vocabulary import Vocabulary

Condition = Literal["auto", "caption", "label", "none"]
"""What text stands before an image."""

Loss = Literal["all", "image"]
"""Which ids of a sequence carry loss."""

IdType = Literal["uint16", "int32", "uint32"]
"""How ids may be stored."""


@dataclass(frozen=True)
class FormatOptions:
    """How an export is written for a trainer; formats without sequences take none of it.

    Args:
        vocabulary: Meaning of the ids; None numbers the codes behind the ids of ``text`` and 8 special ids.
        text: Text tokenizer of such a numbering; None writes text byte by byte. A vocabulary has its own.
        condition: Text before an image: its ``caption``, the name of its class (``label``), or ``none``. ``auto`` takes captions if
            the export has any, else labels, else none.
        loss: ``all`` ids carry loss, or the ids of the ``image`` alone, from BOI on.
        id_type: Type the ids are stored in; None takes the smallest of the format that holds the vocabulary.

    Raises:
        ValueError: If a value is none of those named, or both a vocabulary and a text tokenizer are given.
    """

    vocabulary: Vocabulary | None = None
    text: TextTokenizer | None = None
    condition: Condition = "auto"
    loss: Loss = "all"
    id_type: IdType | None = None

    def __post_init__(self) -> None:
        if self.vocabulary is not None and self.text is not None:
            raise ValueError("a vocabulary has its own text tokenizer; give one of the two")
        for name, given, allowed in (
            ("condition", self.condition, get_args(Condition)),
            ("loss", self.loss, get_args(Loss)),
            ("id_type", self.id_type, (None, *get_args(IdType))),
        ):
            if given not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}, got {given!r}")
