"""Images in webdataset shards: tar files whose members are grouped into samples by key, indexed once and read where they are."""

from __future__ import annotations

import logging
import os
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tokbench.data.annotations import as_caption, as_label, json_fields
from tokbench.data.columns import CAPTION_COLUMNS, LABEL_COLUMNS
from tokbench.data.folder import (
    IMAGE_EXTENSIONS,
    MAX_NOTE_BYTES,
    StoredImages,
    is_hidden,
    is_image_name,
    is_other_image,
    no_images,
    printable,
    with_empty,
)
from tokbench.errors import TokbenchError
from tokbench.image_files import one_large_at_a_time, too_large
from tokbench.images import MAX_FILE_BYTES, UnreadableImage

logger = logging.getLogger(__name__)

COMPRESSED_EXTENSIONS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4")
"""File names of tars that allow no random access."""

COMPRESSED_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18")
"""First bytes of the same."""

NOTES = ("cls", "txt", "json")
"""Kinds of members that describe an image: its class, its caption, or fields that may hold both."""

NOTE_NAMES = {"cls": "cls", "class": "cls", "label": "cls", "txt": "txt", "text": "txt", "caption": "txt", "json": "json"}
"""Extensions of such members, in any case, and their kinds."""

PARTS = ("image", *NOTES)
"""What a sample may consist of."""

BLOCK = 512
"""Bytes of a tar header; an empty one ends the archive."""

_LONGEST_HEADER = 64 << 20
"""Bytes that one header of a tar may take; tarfile reads it whole."""

_PADDING = 64 << 20
"""Bytes behind the end of a tar that are looked through."""
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
        TokbenchError: If a shard is missing, compressed, truncated or damaged, if a key has two images, or if there are none.
    """

    def __init__(self, paths: Sequence[Path], name: str) -> None:
        """Scan the headers of all shards."""
        self.name = name
        parents = [os.path.dirname(os.path.abspath(path)) for path in paths]
        common = os.path.commonpath(parents) if parents else ""
        rows: dict[str, int] = {}
        tables = []
        count = 0
        folders = set[str]()
        for number, path in enumerate(paths):
            shard = Path(os.path.relpath(os.path.abspath(path), common)).as_posix()
            shard = shard[: -len(".tar")] if shard.lower().endswith(".tar") else shard
            samples, lost = _samples(path)
            self.passed_over += tuple(f"{shard}/{printable(member)}" for member in lost.passed_over)
            if lost.notes:
                logger.warning(
                    "%d texts, classes or fields of %s belong to no image, the first is %s: the name up to the dot must be an image's",
                    *(len(lost.notes), path.name, printable(lost.notes[0])),
                )
            folders |= {f"{shard}/{folder}" if folder else shard for folder in lost.empty}
            rows |= {printable(f"{shard}/{key}"): count + row for row, key in enumerate(samples)}
            count += len(samples)
            tables += [np.array([(number, *place) for place in samples.values()], np.int64)] if samples else []
        if not rows:
            raise no_images(str(paths[0]) if len(paths) == 1 else f"the {len(paths)} tar files of {name}", self.passed_over)
        self._empty = frozenset(folders)
        self.ids = tuple(sorted(rows))
        self._paths = list(paths)
        self._places = np.concatenate(tables)[[rows[id_] for id_ in self.ids]]  # numbers, as there may be millions

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders with images, and empty ones as deep in the tree as one of these."""
        return with_empty((name.rpartition("/")[0] for name in self.ids), self._empty)

    def read_bytes(self, index: int) -> bytes:
        """Read one member."""
        return self._read(index, *self._place(index, "image"))

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
        path = self._paths[self._places[index, 0]]
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


def is_compressed_tar(path: str) -> bool:
    """Whether a file is a compressed tar by its name.

    Args:
        path: A path or a name.

    Returns:
        True if it ends in one of ``COMPRESSED_EXTENSIONS``, in any case.
    """
    return path.lower().endswith(COMPRESSED_EXTENSIONS)


def compressed_tar(path: Path) -> TokbenchError:
    """Build the error for a compressed tar.

    Args:
        path: The file.

    Returns:
        The error, to be raised by the caller.
    """
    return TokbenchError(f"{path} is a compressed tar, which has to be read from its start for every image; decompress it to a plain .tar")


def _column(part: str) -> int:
    """Where the offset of a part stands in a row of places, before its size; the shard's number comes first."""
    return 1 + 2 * PARTS.index(part)


@dataclass
class _Lost:
    """What of a tar is in no sample.

    Args:
        notes: Texts, classes and fields that belong to no image.
        passed_over: Links to images, and images of kinds that are not read.
        empty: Folders in which nothing lies.
    """

    notes: list[str]
    passed_over: list[str]
    empty: set[str]


def _samples(path: Path) -> tuple[dict[str, tuple[int, ...]], _Lost]:
    """Offset and size of each of ``PARTS`` of every sample, -1 where it has none; and what is in no sample."""
    members, lost = _members(path)
    notes: dict[tuple[str, str], str] = {}
    for member in sorted(members, key=_plainest):
        stem, kind = _note_of(member)
        if kind:
            notes.setdefault((stem, kind), member)
    groups: dict[str, list[str]] = defaultdict(list)
    for member in members:
        if is_image_name(member):
            folder, slash, file = member.rpartition("/")
            groups[folder + slash + file.split(".")[0]].append(member)
    samples, used = {}, set[str]()
    for key, group in groups.items():
        images = [member for member in group if member[len(key) + 1 :].lower() in IMAGE_EXTENSIONS]
        if len(images) > 1:
            raise TokbenchError(f"the sample {key} of {path} has several images: {', '.join(images)}; one is allowed: rename the others")
        for member in images or group:
            stems = (key,) if images else (member.rpartition(".")[0], key)
            found = [next((notes[stem, kind] for stem in stems if (stem, kind) in notes), None) for kind in NOTES]
            used |= {note for note in found if note is not None}
            places = [members[member], *((-1, -1) if note is None else members[note] for note in found)]
            samples[key if images else member] = tuple(number for place in places for number in place)
    lost.notes = [member for member in notes.values() if member not in used]
    return samples, lost


def _note_of(member: str) -> tuple[str, str | None]:
    """What a member describes, by its name up to the last dot, and what kind of note it is, if any."""
    stem, _, extension = member.rpartition(".")
    return stem, NOTE_NAMES.get(extension.lower()) if stem else None


def _plainest(member: str) -> tuple[bool, str]:
    """Sort the usual names of notes before others of one kind."""
    return member.rpartition(".")[2] not in NOTES, member


def _members(path: Path) -> tuple[dict[str, tuple[int, int]], _Lost]:
    """Offset and size of the images and notes in a tar; of two with one name the later. And what is passed over."""
    members: dict[str, tuple[int, int]] = {}
    lost, folders, filled = _Lost([], [], set()), set[str](), set[str]()
    try:
        with path.open("rb") as file:
            if file.read(8).startswith(COMPRESSED_MAGIC):
                raise compressed_tar(path)
            file.seek(0)
            bounded: Any = _Bounded(file)  # it reads, seeks and tells
            with tarfile.open(fileobj=bounded, mode="r:") as tar:
                for member in tar:
                    name = member.name.removeprefix("./")
                    if is_hidden(name):
                        continue
                    filled |= {name.rpartition("/")[0]}
                    if member.isdir():
                        folders.add(name.rstrip("/"))
                    elif is_other_image(name) or (is_image_name(name) and not member.isreg()):
                        lost.passed_over.append(name)
                    elif member.isreg() and (is_image_name(name) or _note_of(name)[1]):
                        if member.issparse():
                            raise TokbenchError(f"{path} holds {name} as a sparse file, which is not read; pack it again without --sparse")
                        members[name] = (member.offset_data, member.size)
                fault = _fault_after(file, tar.offset)
    except TokbenchError:
        raise
    except FileNotFoundError as error:
        raise TokbenchError(f"the shard {path} does not exist; check the path or the range") from error
    except Exception as error:  # damaged archives raise many kinds: TarError, OSError, ValueError, UnicodeDecodeError, ...
        raise TokbenchError(f"{path} is not a whole tar file ({error}); copy or download it again") from error
    if fault:
        raise TokbenchError(f"{path} is not a whole tar file ({fault}); copy, download or pack it again")
    lost.empty = {folder for folder in folders - filled if folder}
    return members, lost


class _Bounded:
    """A file that tarfile cannot read gigabytes of at once, as a header may ask it to."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell, self._file = file.seek, file.tell, file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


def _fault_after(file: BinaryIO, end: int) -> str:
    """What is wrong with the end of an archive: tarfile stops in silence at a cut between members and at a damaged header."""
    file.seek(end)
    block = file.read(BLOCK)
    if len(block) < BLOCK:
        return "it is truncated: its end marker is missing"
    if block.strip(b"\0"):
        return f"the header at byte {end} is damaged"
    while file.tell() - end < _PADDING and (chunk := file.read(1 << 20)):
        if chunk.strip(b"\0"):
            return "data follow its end marker, as when tar files are joined with cat"
    return ""
