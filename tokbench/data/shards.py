"""Images in webdataset shards: tar files whose members are grouped into samples by key, indexed once and read where they are."""

from __future__ import annotations

import os
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tokbench.data.annotations import as_caption, as_label, json_fields
from tokbench.data.folder import IMAGE_EXTENSIONS, StoredImages, is_hidden, is_image_name, no_images, printable
from tokbench.errors import TokbenchError
from tokbench.images import UnreadableImage

COMPRESSED_EXTENSIONS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4")
"""File names of tars that allow no random access."""

COMPRESSED_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18")
"""First bytes of the same."""

NOTES = ("cls", "txt", "json")
"""Extensions of the members that describe an image: its class, its caption, or fields that may hold both."""

PARTS = ("image", *NOTES)
"""What a sample may consist of."""

BLOCK = 512
"""Bytes of a tar header; an empty one ends the archive."""

_NOTE_ENDS = tuple(f".{kind}" for kind in NOTES)
_BRACE = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")


class ShardSource(StoredImages):
    """The images of one or more tar files, one a sample, by ``shard/key``.

    The key of a member is its path up to the first dot of its file name. A sample's image is the member whose whole remaining
    name is an image extension (``a.jpg`` beside ``a.seg.png``). If there is none, all its members that end in one count, under
    their full names. Its label is the whole number in ``a.cls``, else the field ``label`` of ``a.json``; its caption ``a.txt``, else
    the field ``caption``. Whether the set has such fields is decided by the first ``.json``. Links, hidden members and all others are
    ignored.

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
        for number, path in enumerate(paths):
            shard = Path(os.path.relpath(os.path.abspath(path), common)).as_posix()
            shard = shard[: -len(".tar")] if shard.lower().endswith(".tar") else shard
            samples = _samples(path)
            rows |= {printable(f"{shard}/{key}"): count + row for row, key in enumerate(samples)}
            count += len(samples)
            tables += [np.array([(number, *place) for place in samples.values()], np.int64)] if samples else []
        if not rows:
            raise no_images(str(paths[0]) if len(paths) == 1 else f"the {len(paths)} tar files of {name}")
        self.ids = tuple(sorted(rows))
        self._paths = list(paths)
        self._places = np.concatenate(tables)[[rows[id_] for id_ in self.ids]]  # numbers, as there may be millions

    def read_bytes(self, index: int) -> bytes:
        """Read one member."""
        return self._read(index, *self._place(index, "image"))

    @cached_property
    def has_labels(self) -> bool:
        """Whether any sample has a ``.cls``, or the first ``.json`` a field ``label``."""
        return self._any_has("cls") or "label" in self._first_fields

    @cached_property
    def has_captions(self) -> bool:
        """Whether any sample has a ``.txt``, or the first ``.json`` a field ``caption``."""
        return self._any_has("txt") or "caption" in self._first_fields

    def label(self, index: int) -> int | None:
        """Read one sample's label."""
        text = self._note(index, "cls")
        value = self._field(index, "label") if text is None else text
        return as_label(value, self.record(index))

    def caption(self, index: int) -> str | None:
        """Read one sample's caption."""
        text = self._note(index, "txt")
        value = self._field(index, "caption") if text is None else text
        return as_caption(value, self.record(index))

    def _any_has(self, kind: str) -> bool:
        return bool((self._places[:, _column(kind)] >= 0).any())

    @cached_property
    def _first_fields(self) -> dict[str, Any]:
        return self._fields(int((self._places[:, _column("json")] >= 0).argmax()))  # sample 0 if none has any

    def _field(self, index: int, name: str) -> object:
        """A field of a sample's JSON, which is not read if the first has no such field."""
        return self._fields(index).get(name) if name in self._first_fields else None

    def _fields(self, index: int) -> dict[str, Any]:
        data = self._note(index, "json")
        return {} if data is None else json_fields(data, self.record(index))

    def _note(self, index: int, kind: str) -> bytes | None:
        offset, size = self._place(index, kind)
        try:
            return self._read(index, offset, size) if offset >= 0 else None
        except UnreadableImage as error:
            raise TokbenchError(f"the .{kind} of {self.record(index)} cannot be read ({error}); copy the tar file again") from error

    def _place(self, index: int, part: str) -> tuple[int, int]:
        column = _column(part)
        offset, size = self._places[index, column : column + 2].tolist()
        return offset, size

    def _read(self, index: int, offset: int, size: int) -> bytes:
        try:
            with self._paths[self._places[index, 0]].open("rb") as file:  # for each read: there may be more shards than descriptors
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


def _samples(path: Path) -> dict[str, tuple[int, ...]]:
    """Offset and size of each of ``PARTS`` of every sample; -1 where it has none."""
    members = _members(path)
    groups: dict[str, list[str]] = defaultdict(list)
    for member in members:
        folder, slash, file = member.rpartition("/")
        groups[folder + slash + file.split(".")[0]].append(member)
    samples = {}
    for key, group in groups.items():
        rests = [(member[len(key) + 1 :].lower(), member) for member in group]
        images = [member for rest, member in rests if rest in IMAGE_EXTENSIONS]
        if len(images) > 1:
            raise TokbenchError(f"the sample {key} of {path} has several images: {', '.join(images)}; one is allowed: rename the others")
        found = {rest: members[member] for rest, member in rests if rest in NOTES}
        notes = [number for kind in NOTES for number in found.get(kind, (-1, -1))]
        if images:
            samples[key] = (*members[images[0]], *notes)
        else:
            samples.update({member: (*members[member], *notes) for member in group if is_image_name(member)})
    return samples


def _members(path: Path) -> dict[str, tuple[int, int]]:
    """Offset and size of the files in a tar that end in an image extension or in one of ``NOTES``; of two with one name the later."""
    try:
        with path.open("rb") as file:
            if file.read(8).startswith(COMPRESSED_MAGIC):
                raise compressed_tar(path)
            file.seek(0)
            members = {}
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    name = member.name.removeprefix("./")
                    if member.isreg() and (is_image_name(name) or name.lower().endswith(_NOTE_ENDS)) and not is_hidden(name):
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
    return members


def _fault_after(file: BinaryIO, end: int) -> str:
    """What is wrong with the end of an archive: tarfile stops in silence at a cut between members and at a damaged header."""
    file.seek(end)
    block = file.read(BLOCK)
    if len(block) < BLOCK:
        return "it is truncated: its end marker is missing"
    if block.strip(b"\0"):
        return f"the header at byte {end} is damaged"
    while chunk := file.read(1 << 20):
        if chunk.strip(b"\0"):
            return "data follow its end marker, as when tar files are joined with cat"
    return ""
