"""The headers of one tar file: which members make a sample, and where they lie; nothing is unpacked."""

from __future__ import annotations

import tarfile
from array import array
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tokbench.data.folder import IMAGE_EXTENSIONS, is_hidden, is_image_name, is_other_image
from tokbench.errors import TokbenchError
from tokbench.names import Gathered, Names
from tokbench.regular import open_regular

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


@dataclass
class Lost:
    """What of a tar is in no sample.

    Args:
        notes: Texts, classes and fields that belong to no image.
        passed_over: Links to images, and images of kinds that are not read.
        empty: Folders in which nothing lies.
    """

    notes: list[str]
    passed_over: list[str]
    empty: set[str]


def samples_in(path: Path) -> tuple[Names, np.ndarray, Lost]:
    """Keys of samples; offset and size of each of ``PARTS`` of every one, -1 where it has none, int64 ``[n, 8]``; what is in no sample.

    Members are gone through in the order of their keys: there may be millions. In that of their names, ``a.k/b.png`` is between ``a.cls`` and
    ``a.png``.
    """
    names, offsets, sizes, lost = _members(path)
    keys, places = Gathered(), array("q")
    own = Names.of(map(_key_of, names))
    in_order = range(len(own)) if own.order is None else own.order.data
    for key, group in groupby(in_order, own.__getitem__):
        members = {names[number]: (offsets[number], sizes[number]) for number in sorted(group)}  # of two with one name the later
        notes: dict[tuple[str, str], str] = {}
        for member in sorted(members, key=_plainest):
            stem, kind = _note_of(member)
            if kind:
                notes.setdefault((stem, kind), member)
        pictures = [member for member in members if is_image_name(member)]
        images = [member for member in pictures if member[len(key) + 1 :].lower() in IMAGE_EXTENSIONS]
        if len(images) > 1:
            raise TokbenchError(f"the sample {key} of {path} has several images: {', '.join(images)}; one is allowed: rename the others")
        used = set[str]()
        for member in images or pictures:
            stems = (key,) if images else (member.rpartition(".")[0], key)
            found = [next((notes[stem, kind] for stem in stems if (stem, kind) in notes), None) for kind in NOTES]
            used |= {note for note in found if note is not None}
            keys.add(key if images else member)
            for part in (member, *found):
                places.extend((-1, -1) if part is None else members[part])
        lost.notes += [member for member in notes.values() if member not in used]
    lost.notes.sort(key=_plainest)
    return keys.names(), np.frombuffer(places, np.int64).reshape(-1, 2 * len(PARTS)), lost


def _key_of(member: str) -> str:
    """A path up to the first dot of its file name."""
    folder, slash, file = member.rpartition("/")
    return folder + slash + file.split(".")[0]


def _note_of(member: str) -> tuple[str, str | None]:
    """What a member describes, by its name up to the last dot, and what kind of note it is, if any."""
    stem, _, extension = member.rpartition(".")
    return stem, NOTE_NAMES.get(extension.lower()) if stem else None


def _plainest(member: str) -> tuple[bool, str]:
    """Sort the usual names of notes before others of one kind."""
    return member.rpartition(".")[2] not in NOTES, member


def _members(path: Path) -> tuple[Names, array[int], array[int], Lost]:
    """Names, offsets and sizes of the images and notes in a tar, as they come; and what is passed over."""
    names, offsets, sizes = Gathered(), array("q"), array("q")
    lost, folders, filled = Lost([], [], set()), set[str](), set[str]()
    try:
        file, _ = open_regular(path)
        with file:
            if file.read(8).startswith(COMPRESSED_MAGIC):
                raise compressed_tar(path)
            file.seek(0)
            bounded: Any = _Bounded(file)  # it reads, seeks and tells
            with tarfile.open(fileobj=bounded, mode="r:") as tar:
                while (member := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined]  # it would keep a kilobyte of each
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
                        names.add(name)
                        offsets.append(member.offset_data)
                        sizes.append(member.size)
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
    return names.names(), offsets, sizes, lost


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
