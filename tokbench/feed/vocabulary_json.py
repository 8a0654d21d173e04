"""Vocabularies as JSON, so that exported sequences and saved models carry the meaning of their ids."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokbench.configs import build, plain
from tokbench.errors import TokbenchError
from tokbench.feed.job import TokenizerIdentity
from tokbench.feed.special import SpecialIds
from tokbench.feed.text import ByteText, TextTokenizer
from tokbench.feed.text_file import FileText
from tokbench.feed.vocabulary import Vocabulary
from tokbench.json_files import parse_json

SCHEMA = 1


def vocabulary_to_json(vocabulary: Vocabulary) -> str:
    """Write a vocabulary.

    Args:
        vocabulary: Any vocabulary.

    Returns:
        JSON text, equal for equal vocabularies; the text tokenizer's file is named by its digest, not by its path.
    """
    values = {field: plain(getattr(vocabulary, field)) for field in Vocabulary.__dataclass_fields__ if field != "text"}
    values |= {"schema": SCHEMA, "text": vocabulary.text.to_dict()}
    return json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n"


def vocabulary_from_json(text: str, *, text_file: Path | None = None, origin: str = "the vocabulary") -> Vocabulary:
    """Read a vocabulary.

    Args:
        text: What ``vocabulary_to_json`` wrote.
        text_file: The ``tokenizer.json`` its text tokenizer came from; needed to write and read text, not for images alone.
        origin: What to call it in errors.

    Returns:
        An equal vocabulary.

    Raises:
        TokbenchError: If it is damaged or of a newer schema.
    """
    try:
        values = parse_json(text)
    except ValueError as error:
        raise TokbenchError(f"{origin} is not JSON ({error}); write it again") from error
    schema = values.get("schema") if isinstance(values, dict) else None
    if type(schema) is not int:
        raise TokbenchError(f"{origin} is no vocabulary of tokbench; give one that tokbench wrote")
    if schema > SCHEMA:
        raise TokbenchError(f"{origin} has schema {schema}, this tokbench reads up to {SCHEMA}; install a newer one")
    try:
        return Vocabulary(
            special=SpecialIds(**{name: _int(number) for name, number in values["special"].items()}),
            text=_text(values["text"], text_file),
            image_tokenizer=build(TokenizerIdentity, values["image_tokenizer"], "image_tokenizer"),
            codebook_sizes=_ints(values["codebook_sizes"]),
            offsets=_ints(values["offsets"]),
            grid_axes=_int(values["grid_axes"]),
            arrangement=values["arrangement"],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise TokbenchError(f"{origin} is damaged ({reason}); write it again") from error


def _text(values: Mapping[str, Any], file: Path | None) -> TextTokenizer:
    if values["kind"] == "bytes":
        return ByteText(build(str, values["alphabet"], "alphabet"))
    if values["kind"] == "file":
        return FileText(build(str, values["sha256"], "sha256"), _int(values["size"]), _ints(values["reserved"]), file)
    raise ValueError(f"text of kind {str(values['kind'])[:40]!r}, known are bytes and file")


def _ints(values: list[Any]) -> tuple[int, ...]:
    return tuple(_int(value) for value in build(tuple[Any, ...], values, "a list"))


def _int(value: Any) -> int:
    number: int = build(int, value, "a number")
    return number
