"""Images in webdataset shards: tar files whose members are grouped into samples by key, indexed once and read where they are."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tokbench.data.annotations import as_caption, as_label, json_fields
from tokbench.data.columns import CAPTION_COLUMNS, LABEL_COLUMNS
from tokbench.data.folder import MAX_NOTE_BYTES, StoredImages, check_different, no_images, printable, touched_since, with_empty
from tokbench.data.shard_index import remove_unused, shard_index
from tokbench.data.tar_members import PARTS
from tokbench.errors import TokbenchError
from tokbench.image_files import one_large_at_a_time, too_large
from tokbench.images import MAX_FILE_BYTES, UnreadableImage
from tokbench.names import Names

logger = logging.getLogger(__name__)

_BRACE = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")


class ShardSource(StoredImages):
    """The images of one or more tar files, one a sample, by ``shard/key``.

    The key of a member is its path up to the first dot of its file name. A sample's image is the member whose whole remaining name is an
    image extension (``a.jpg`` beside ``a.seg.png``). If there is none, all its members that end in one count, under their full names.
    What describes them then has their name up to the last dot (``v1.0.jpg`` and ``v1.0.txt``), else the key's. Its label is the whole
    number in ``a.cls``, else a field ``label`` (``labels``, ``cls``, ``class``) of ``a.json``; its caption ``a.txt`` (``a.caption``),
    else a field ``caption`` (``text``, ``txt``, ``captions``). Texts, classes and fields that belong to no image are warned of. Hidden
    members are ignored; links to images and images of kinds that are not read are passed over.

    Args:
        paths: The shards. A shard's name in the ids is its path below their common folder, without ``.tar``.
        name: What to call them together.

    Raises:
        TokbenchError: If a shard is named twice, missing, compressed, truncated or damaged, if a key has two images or two samples have
            one id, or if there are none.
    """

    def __init__(self, paths: Sequence[Path], name: str) -> None:
        """Find the samples of all shards, by their headers or by what the cache keeps of them."""
        self.name = name
        named = sorted(zip(shard_names(paths), paths, strict=True), key=lambda one: f"{one[0]}/")
        twice = next((path for (one, path), (other, _) in pairwise(named) if one == other), None)
        if twice is not None:
            raise TokbenchError(f"{twice} is there twice among the parts of {name}; give each once")
        self._paths = [path for _, path in named]
        tables: list[np.ndarray] = []
        numbers: list[np.ndarray] = []
        folders = set[str]()

        def gathered() -> Iterator[str]:
            for number, (shard, path) in enumerate(named):
                index = shard_index(path)
                self.passed_over += tuple(f"{shard}/{member}" for member in index.passed_over)
                if index.lost_notes:
                    logger.warning(
                        "%d texts, classes or fields of %s belong to no image, the first is %s: the name up to the dot must be an image's",
                        *(len(index.lost_notes), path.name, index.lost_notes[0]),
                    )
                folders.update(f"{shard}/{folder}" if folder else shard for folder in index.empty)
                tables.append(index.places)
                numbers.append(np.full(len(index.keys), number, np.int32))
                yield from (f"{shard}/{key}" for key in index.keys)

        self.ids: Names = Names.of(gathered())
        remove_unused()
        if not self.ids:
            raise no_images(str(paths[0]) if len(paths) == 1 else f"the {len(paths)} tar files of {name}", self.passed_over)
        self._empty = frozenset(folders)
        self._shards, self._places = np.concatenate(numbers), tables[0] if len(tables) == 1 else np.concatenate(tables)
        tables.clear()  # there may be millions
        check_different(self.ids, name)
        if (order := self.ids.order) is not None:  # the name of a shard begins that of another
            self._shards, self._places = self._shards[order], self._places[order]
            self.ids = Names.of(self.ids[row] for row in order.data)

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders with images, and empty ones as deep in the tree as one of these."""
        return with_empty((name.rpartition("/")[0] for name in self.ids), self._empty)

    def read_bytes(self, index: int) -> bytes:
        """Read one member."""
        return self._read(index, *self._place(index, "image"))

    def changed_since(self, index: int, moment: float) -> bool:
        """Whether the file with all of them was touched."""
        return touched_since(self._paths[self._shards[index]], moment)

    @cached_property
    def has_labels(self) -> bool:
        """Whether any sample has a ``.cls``, or any ``.json`` a field for a label; for the second all may have to be read."""
        return self._any_has("cls") or self._any_field(LABEL_COLUMNS)

    @cached_property
    def has_captions(self) -> bool:
        """Whether any sample has a ``.txt``, or any ``.json`` a field for a caption; for the second all may have to be read."""
        return self._any_has("txt") or self._any_field(CAPTION_COLUMNS)

    def label(self, index: int) -> int | None:
        """Read one sample's label."""
        text = self._note(index, "cls")
        value = self._field(index, LABEL_COLUMNS) if text is None else text
        return as_label(value, self.record(index))

    def caption(self, index: int) -> str | None:
        """Read one sample's caption."""
        text = self._note(index, "txt")
        value = self._field(index, CAPTION_COLUMNS) if text is None else text
        return as_caption(value, self.record(index))

    def _any_has(self, kind: str) -> bool:
        return bool((self._places[:, _column(kind)] >= 0).any())

    def _any_field(self, names: Sequence[str]) -> bool:
        with_json = (self._places[:, _column("json")] >= 0).nonzero()[0]
        return any(not self._fields(int(index)).keys().isdisjoint(names) for index in with_json)

    def _field(self, index: int, names: Sequence[str]) -> object:
        fields = self._fields(index)
        return next((fields[name] for name in names if fields.get(name) is not None), None)

    def _fields(self, index: int) -> dict[str, Any]:
        data = self._note(index, "json")
        return {} if data is None else json_fields(data, self.record(index))

    def _note(self, index: int, kind: str) -> bytes | None:
        offset, size = self._place(index, kind)
        try:
            if size > MAX_NOTE_BYTES:
                raise too_large(size, MAX_NOTE_BYTES)
            return self._read(index, offset, size) if offset >= 0 else None
        except UnreadableImage as error:
            raise TokbenchError(f"the .{kind} of {self.record(index)} cannot be read ({error}); copy the tar file again") from error

    def _place(self, index: int, part: str) -> tuple[int, int]:
        column = _column(part)
        offset, size = self._places[index, column : column + 2].tolist()
        return offset, size

    def _read(self, index: int, offset: int, size: int) -> bytes:
        if size > MAX_FILE_BYTES:
            raise too_large(size, MAX_FILE_BYTES)
        path = self._paths[self._shards[index]]
        try:
            with one_large_at_a_time(size), path.open("rb") as file:  # for each read: there may be more shards than descriptors
                file.seek(offset)
                data = file.read(size)
        except OSError as error:
            raise UnreadableImage.because(error) from error
        if len(data) < size:
            raise UnreadableImage("the tar file has become shorter since it was indexed")
        return data


def expand_braces(pattern: str) -> Iterator[str]:
    """Write out a shard pattern, lazily, in order.

    Args:
        pattern: A path with any number of ``{0000..0003}`` (zero-padded as written) or ``{train,val}``.

    Yields:
        The paths.

    Raises:
        TokbenchError: If a brace is neither.
    """
    brace = _BRACE.search(pattern)
    if brace is None:
        if "{" in pattern or "}" in pattern:
            raise TokbenchError(f"{pattern} is not a pattern of shards; write {{0000..0003}} or {{train,val}}")
        yield pattern
        return
    first, last, listed = brace.groups()
    if first is not None and int(first) > int(last):
        raise TokbenchError(f"{brace.group()} counts down; write {{{last}..{first}}}")
    choices = listed.split(",") if first is None else (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
    for choice in choices:
        yield from expand_braces(pattern[: brace.start()] + choice + pattern[brace.end() :])


def shard_names(paths: Sequence[Path]) -> list[str]:
    """Names of shards in ids: their paths below their common folder, without suffix.

    Args:
        paths: The shards, all of one suffix.
    """
    whole = [os.path.abspath(path) for path in paths]
    common = os.path.commonpath([os.path.dirname(path) for path in whole]) if whole else ""
    names = [Path(os.path.relpath(path, common)).as_posix() for path in whole]
    return [printable(name[: -len(path.suffix)] if path.suffix else name) for name, path in zip(names, paths, strict=True)]


def _column(part: str) -> int:
    """Where the offset of a part stands in a row of places, before its size."""
    return 2 * PARTS.index(part)
