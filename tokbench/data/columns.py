"""Columns of a table with labels and captions: which they are, and their classes as numbers."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tokbench.data.annotations import LARGEST_LABEL, as_caption, bad_caption, bad_label
from tokbench.data.folder import StoredImages
from tokbench.errors import TokbenchError

if TYPE_CHECKING:
    import pyarrow as pa

LABEL_COLUMNS = ("label", "labels", "cls", "class")
"""Names of a column of classes, whole numbers or texts, in the order in which they are tried, first as they are, then in any case."""

CAPTION_COLUMNS = ("caption", "text", "txt", "captions")
"""Names of a column of texts, or of lists of texts of which the first counts, in the order in which they are tried."""


class AnnotatedRows(StoredImages):
    """Images in the rows of a table that may have a column of labels and one of captions."""

    _labels: Any
    """The column of labels, or its name; None if there is none."""

    _captions: Any
    """The column of captions; None if there is none."""

    unused_columns: tuple[str, ...] = ()
    """Columns that could be labels or captions, but are not named like them."""

    @abstractmethod
    def _read_classes(self) -> Classes:
        """Read all labels."""

    @abstractmethod
    def _caption(self, index: int) -> object:
        """Take one cell of the column of captions."""

    @cached_property
    def _classes(self) -> Classes:
        return self._read_classes()

    @property
    def has_labels(self) -> bool:
        """Whether there is a column of labels."""
        return self._labels is not None

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names stored with the table, or the distinct texts of its labels."""
        return self._classes.names if self.has_labels else ()

    def label(self, index: int) -> int | None:
        """Take one label; all are read when the first is asked for."""
        return self._classes[index] if self.has_labels else None

    @property
    def has_captions(self) -> bool:
        """Whether there is a column of captions."""
        return self._captions is not None

    def caption(self, index: int) -> str | None:
        """Take one caption."""
        try:
            value = None if self._captions is None else self._caption(index)
        except UnicodeDecodeError as error:
            raise bad_caption("is not UTF-8", self.record(index)) from error
        except Exception as error:  # damaged files raise ArrowInvalid, OSError, ValueError, ...
            raise bad_caption(f"cannot be read ({error})", self.record(index)) from error
        return as_caption(value, self.record(index))


def label_column(schema: pa.Schema) -> str | None:
    """Choose the column with the labels: the first of ``LABEL_COLUMNS`` with whole numbers or texts; None if there is none."""
    import pyarrow as pa

    return _first(schema, LABEL_COLUMNS, lambda kind: pa.types.is_integer(kind) or _is_text(kind))


def caption_column(schema: pa.Schema) -> str | None:
    """Choose the column with the captions: the first of ``CAPTION_COLUMNS`` with texts or lists of them; None if there is none."""
    import pyarrow as pa

    def fits(kind: pa.DataType) -> bool:
        return _is_text(kind) or ((pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _is_text(kind.value_type))

    return _first(schema, CAPTION_COLUMNS, fits)


def unused_columns(schema: pa.Schema) -> tuple[str, ...]:
    """Columns of whole numbers or texts that are neither labels nor captions by their names."""
    import pyarrow as pa

    taken = {label_column(schema), caption_column(schema), "__key__"}
    return tuple(field.name for field in schema if field.name not in taken and (pa.types.is_integer(field.type) or _is_text(field.type)))


def class_names(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """Names of a column's classes, where the ``datasets`` library has left them in a table's metadata; else none."""
    try:
        names = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()


class Classes:
    """The classes of a column, in 32 bits a row.

    Whole numbers stay as they are; -1 and null mean that there is none. Texts are numbered in the order of their distinct values, as
    folders are, unless all of them spell numbers: then they are these.

    Args:
        parts: The column, part by part.
        names: Names of the classes, if they are known.
        record: What a row is called, for the errors.

    Raises:
        TokbenchError: If a label is negative, larger than the names allow, or not UTF-8.
    """

    def __init__(self, parts: Iterable[pa.Array], names: Sequence[str], record: Callable[[int], str]) -> None:
        import pyarrow as pa

        largest = len(names) - 1 if names else LARGEST_LABEL
        texts: dict[str, int] = {}
        found = [np.empty(0, np.int32)]
        start = 0
        for part in parts:
            name = partial(_name_of, record, start)
            found.append(_whole(part, largest, name) if pa.types.is_integer(part.type) else _numbered(part, texts, name))
            start += len(part)
        self._numbers, self.names = np.concatenate(found), tuple(names)
        if texts:
            self._name(texts)

    def _name(self, texts: dict[str, int]) -> None:
        """Renumber texts, which have numbers in the order in which they came."""
        if all(_is_number(text) for text in texts):
            ranks = [int(text) for text in texts]
        else:
            self.names = tuple(sorted(texts))
            rank = {text: number for number, text in enumerate(self.names)}
            ranks = [rank[text] for text in texts]
        self._numbers = np.array([*ranks, -1], np.int32)[self._numbers]  # -1 stays what it is: the last entry

    def __getitem__(self, row: int) -> int | None:
        number = int(self._numbers[row])
        return None if number < 0 else number


def _name_of(record: Callable[[int], str], start: int, row: int) -> str:
    return record(start + row)


def _whole(part: pa.Array, largest: int, name: Callable[[int], str]) -> np.ndarray[Any, np.dtype[np.int32]]:
    values = part.fill_null(0).to_numpy(zero_copy_only=False)
    bad = (values < -1) | (values > largest)
    if bad.any():
        row = int(bad.argmax())
        raise bad_label(int(values[row]), name(row), largest=largest)
    return np.where(part.is_valid().to_numpy(zero_copy_only=False), values, -1).astype(np.int32)


def _numbered(part: pa.Array, texts: dict[str, int], name: Callable[[int], str]) -> np.ndarray[Any, np.dtype[np.int32]]:
    encoded = part if hasattr(part, "dictionary") else part.dictionary_encode()
    indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    numbers = []
    for code, value in enumerate(encoded.dictionary):
        try:
            text = value.as_py()
            numbers.append(-1 if text is None else texts.setdefault(text, len(texts)))
        except UnicodeDecodeError as error:
            row = int((indices == code).argmax())
            raise TokbenchError(f"the label of {name(row)} is not UTF-8; mend it, or leave labels out with --labels none") from error
    return np.array([*numbers, -1], np.int32)[indices]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10 and str(int(text)) == text and int(text) <= LARGEST_LABEL


def _first(schema: pa.Schema, names: Sequence[str], fits: Callable[[pa.DataType], bool]) -> str | None:
    fitting = [field.name for field in schema if schema.get_field_index(field.name) >= 0 and fits(field.type)]  # -1 if two have that name
    exact = [name for name in names if name in fitting]
    return next(iter(exact), None) or next((own for name in names for own in fitting if own.lower() == name), None)


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()
