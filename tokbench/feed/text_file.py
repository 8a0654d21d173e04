"""Text tokenizers from the ``tokenizer.json`` of a language model, through the optional package ``tokenizers``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from tokbench.errors import TokbenchError, missing_extra
from tokbench.feed.text import TextTokenizer, check_ids
from tokbench.json_files import parse_json, read_regular

PROBE = "1234567890*9876543210"
"""What a tokenizer must keep, since sizes of images are written so."""

MOST_BYTES = 256 * 2**20
"""Most bytes of a ``tokenizer.json``: those of a million tokens have about a tenth."""


@dataclass(frozen=True)
class FileText(TextTokenizer):
    """The text tokenizer in a file, stripped of special tokens, padding, truncation and templates.

    Text comes back as that tokenizer's own decoder writes it; most are exact but for Unicode normalisation. Made by ``open``; one made
    without ``path``, as a vocabulary read from JSON has it, has an identity and cannot be run.

    Args:
        sha256: Digest of the file.
        size: Ids at or above are not text, though the file may name them.
        reserved: Ids below ``size`` of its special tokens, and those it does not use.
        path: The file; no part of the identity. A text is taken for a path.

    Raises:
        ValueError: If ``size`` is not positive.
    """

    sha256: str
    size: int
    reserved: tuple[int, ...] = ()
    path: Path | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be positive, got {self.size}")
        if self.path is not None:
            object.__setattr__(self, "path", Path(self.path))

    @classmethod
    def open(cls, path: str | Path, *, size: int | None = None) -> FileText:
        """Read a tokenizer.

        Args:
            path: A ``tokenizer.json``.
            size: Ids at or above are not text; None takes all that the file names, so that numbering can go on behind them.

        Raises:
            TokbenchError: If it cannot be read or is no such file, ``tokenizers`` is not installed, or it loses digits or ``*``.
        """
        path = Path(path)
        tokenizer, digest = _load(path, size)
        numbers = tokenizer.get_vocab(with_added_tokens=True).values()
        if not numbers:
            raise TokbenchError(f"{path} has no vocabulary; give the tokenizer.json of a language model")
        size = size or 1 + max(numbers)
        special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        text = cls(digest, size, tuple(sorted(set(range(size)) - (set(numbers) - special))), path)
        written = text.decode(text.encode(PROBE))
        if "".join(written.split()) != PROBE:
            raise TokbenchError(f"{path} writes {PROBE!r} as {written!r}, so it cannot hold sizes of images; choose another text tokenizer")
        return text

    def encode(self, text: str) -> list[int]:
        """Encode without adding special tokens."""
        text.encode()  # the package's own error for surrogates names no cause
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        for number in ids:
            if number >= self.size or number in self._reserved:
                name = self._tokenizer.id_to_token(number)
                raise TokbenchError(f"the text can only be written with {name!r} (id {number}), a special token; take that out of the text")
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Decode with the file's own decoder."""
        check_ids(ids, self.size, self._reserved)
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def to_dict(self) -> dict[str, Any]:
        """Kind, digest, size and reserved ids; no path."""
        return {"kind": "file", "sha256": self.sha256, "size": self.size, "reserved": list(self.reserved)}

    def __getstate__(self) -> dict[str, Any]:
        """Leave the loaded tokenizer behind: a copy of it would forget that special tokens are text."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @cached_property
    def _reserved(self) -> frozenset[int]:
        return frozenset(self.reserved)

    @cached_property
    def _tokenizer(self) -> Any:
        if self.path is None:
            raise TokbenchError(f"text needs the tokenizer.json of SHA-256 {self.sha256}; pass its path as text_file")
        tokenizer, digest = _load(self.path, self.size)
        if digest != self.sha256:
            raise TokbenchError(f"{self.path} has SHA-256 {digest}, the vocabulary was made with {self.sha256}; find that file")
        return tokenizer


def _load(path: Path, size: int | None) -> tuple[Any, str]:
    """Load the tokenizer so that it takes special tokens, and all from ``size`` on, for text like other; and the file's digest."""
    try:
        data = read_regular(path, most=MOST_BYTES)
        values = parse_json(data)
    except OSError as error:
        raise TokbenchError(f"{path} cannot be read ({error.strerror}); give the tokenizer.json of a language model") from error
    except ValueError as error:
        raise TokbenchError(f"{path} is not JSON ({error}); give the tokenizer.json of a language model") from error
    try:
        import tokenizers
    except ImportError as error:
        raise missing_extra("tokenizers", "text", f"reading {path}") from error

    try:
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(values))
        if size is not None:
            # None may be left out of the file: the package numbers added tokens anew, whatever numbers they have there.
            beyond = {token.content for number, token in tokenizer.get_added_tokens_decoder().items() if number >= size}
            for token in values.get("added_tokens") or []:
                token["special"] = token["special"] or token["content"] in beyond
            tokenizer = tokenizers.Tokenizer.from_str(json.dumps(values))
    except Exception as error:  # the package raises plain Exception
        raise TokbenchError(f"{path} is not the tokenizer.json of a language model ({error}); give one") from error
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, hashlib.sha256(data).hexdigest()
