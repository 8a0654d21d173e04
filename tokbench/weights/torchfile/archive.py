"""Zip archives of ``torch.save``: records stored as they are, found by the directory at the end, read where they lie."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from mmap import mmap
from typing import Any

import torch
from torch import Tensor

from tokbench.weights.torchfile.machine import read_pickle
from tokbench.weights.torchfile.tensors import Kind, Storage, claimed_bytes, typed, vocabulary
from tokbench.weights.torchfile.words import Inert, Unreadable, printable

MAX_RECORDS = 250_000
"""Records an archive may have; one is a storage."""
MAX_TEXT = 2**23
"""Bytes of a record of text."""
DAMAGED = "the directory of its zip archive is damaged"


@dataclass(frozen=True)
class _Record:
    header: int
    size: int
    packed: int
    crc: int
    stored: bool  # neither compressed nor encrypted


class Archive:
    """The records of a zip archive.

    Args:
        data: The whole file.

    Raises:
        Unreadable: If the directory is missing or damaged.
    """

    def __init__(self, data: mmap) -> None:
        self.data = data
        self.records: dict[str, _Record] = {}
        self.directory, size = self._find_directory()
        position, end = self.directory, self.directory + size
        while position < end:
            position = self._add(position, end)

    def span(self, name: str) -> tuple[int, int]:
        """Where a record's bytes begin, and how many there are.

        Raises:
            Unreadable: If there is none of that name, its bytes are not those that were written, or it is compressed: a few bytes
                could stand for terabytes.
        """
        if name not in self.records:
            raise Unreadable(f"its record {printable(name)} is missing")
        record = self.records[name]
        if not record.stored:
            raise Unreadable(f"its record {printable(name)} is compressed or encrypted, as torch.save never does")
        signature, *_, name_size, extra_size = self._unpack("<4s5H3I2H", record.header)
        names = record.header + 30
        start = names + name_size + extra_size
        if signature != b"PK\x03\x04" or self.data[names : names + name_size] != name.encode() or start + record.size > self.directory:
            raise Unreadable(f"its record {printable(name)} is not where the directory says")
        # torch.save can be told to leave checksums out; it then writes 0.
        if record.crc and zlib.crc32(memoryview(self.data)[start : start + record.size]) != record.crc:
            raise Unreadable(f"its record {printable(name)} is damaged, the checksum differs")
        return start, record.size

    def text(self, name: str) -> str:
        """A record of text, which may be compressed; none is longer than ``MAX_TEXT``.

        Raises:
            Unreadable: If there is none of that name, or it is longer or damaged.
        """
        if name not in self.records:
            raise Unreadable(f"its record {printable(name)} is missing")
        record = self.records[name]
        *_, name_size, extra_size = self._unpack("<4s5H3I2H", record.header)
        start = record.header + 30 + name_size + extra_size
        held = self.data[start : start + min(record.packed, MAX_TEXT)]
        inflater = zlib.decompressobj(-15)
        try:
            text = held if record.stored else inflater.decompress(held, MAX_TEXT)
        except zlib.error:
            text = b""
        if len(text) != record.size or zlib.crc32(text) != record.crc:
            raise Unreadable(f"its record {printable(name)} is damaged, or longer than {MAX_TEXT} bytes")
        return text.decode("utf-8", "replace")

    def _find_directory(self) -> tuple[int, int]:
        end = self.data.rfind(b"PK\x05\x06", max(0, len(self.data) - 22 - 0xFFFF))
        if end < 0:
            raise Unreadable("the end of its zip archive is missing; the file is cut short")
        size, start = self._unpack("<4s4H2IH", end)[5:7]
        if end >= 20 and self.data[end - 20 : end - 16] == b"PK\x06\x07":
            end = self._unpack("<4sIQI", end - 20)[2]
            signature, *_, size, start = self._unpack("<4sQ2H2I4Q", end)
            if signature != b"PK\x06\x06":
                raise Unreadable(DAMAGED)
        if start + size > end:
            raise Unreadable(DAMAGED)
        return start, size

    def _add(self, position: int, end: int) -> int:
        fields = self._unpack("<4s6H3I5H2I", position)
        signature, _, _, flags, method, _, _, crc, packed, size, name_size, extra_size, comment_size, *_, header = fields
        names = position + 46
        extras = names + name_size
        stop = extras + extra_size + comment_size
        if signature != b"PK\x01\x02" or stop > end:
            raise Unreadable(DAMAGED)
        try:
            name = self.data[names:extras].decode()
            size, packed, header = _long_fields(self.data[extras : extras + extra_size], size, packed, header)
        except (ValueError, struct.error):
            raise Unreadable(DAMAGED) from None
        if name in self.records or len(self.records) == MAX_RECORDS:
            raise Unreadable(f"its zip archive has the record {printable(name)} twice, or more than {MAX_RECORDS} records")
        self.records[name] = _Record(header, size, packed, crc, stored=not method and not flags & 1 and packed == size)
        return stop

    def _unpack(self, form: str, position: int) -> tuple[Any, ...]:
        if position + struct.calcsize(form) > len(self.data):
            raise Unreadable("its zip archive is cut short")
        return struct.unpack_from(form, self.data, position)


def _long_fields(extra: bytes, *fields: int) -> tuple[int, ...]:
    """Numbers of 64 bits for those that did not fit in 32, which stand in an extra field, in order."""
    while 0xFFFFFFFF in fields:
        kind, size = struct.unpack_from("<2H", extra)
        if kind == 1:
            numbers = iter(struct.unpack_from(f"<{fields.count(0xFFFFFFFF)}Q", extra, 4))
            return tuple(next(numbers) if field == 0xFFFFFFFF else field for field in fields)
        extra = extra[4 + size :]
    return fields


def read_archive(data: mmap) -> object:
    """Read the content of a zip archive; its tensors lie in the file.

    Args:
        data: The whole file.

    Raises:
        Unreadable: If it is damaged, no archive of ``torch.save``, or one that was saved on another kind of machine.
    """
    archive = Archive(data)
    root = root_of(archive)
    if any(name == f"{root}constants.pkl" or name.startswith(f"{root}code/") for name in archive.records):
        raise Unreadable("it is a TorchScript archive, which is a program; to take its tensors alone, write torchscript:PATH")
    return read_data(archive, root)


def root_of(archive: Archive) -> str:
    """The folder that all records of an archive are in.

    Raises:
        Unreadable: If there is no one folder with a ``data.pkl``.
    """
    roots = [name.removesuffix("data.pkl") for name in archive.records if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise Unreadable(f"its zip archive has {len(roots) or 'no'} records data.pkl, so it is none of torch.save")
    return roots[0]


def read_data(archive: Archive, root: str) -> object:
    """Read the pickle ``data.pkl`` and the tensors that it names.

    Args:
        archive: What was opened.
        root: Folder of its records.

    Raises:
        Unreadable: If it is damaged, or was saved on another kind of machine.
    """
    if f"{root}byteorder" in archive.records:
        start, size = archive.span(f"{root}byteorder")
        if archive.data[start : start + min(size, 16)] != b"little":
            raise Unreadable("its byte order is not little-endian")
    find = _Storages(archive, f"{root}data/").find
    start, size = archive.span(f"{root}data.pkl")
    return read_pickle(archive.data, start, start + size, vocabulary(find))[0]


class _Storages:
    def __init__(self, archive: Archive, folder: str) -> None:
        self.archive, self.folder = archive, folder
        self.raw: dict[str, Tensor] = {}
        self.found: dict[tuple[str, Kind], Storage] = {}
        self.total = 0

    def find(self, identity: object) -> object:
        if type(identity) is not tuple or len(identity) != 5 or identity[0] != "storage" or type(identity[2]) is not str:
            raise Unreadable("it refers to something that is no storage")
        kind, key, count = identity[1], identity[2], identity[4]
        if not isinstance(kind, Kind):
            return Inert("storage")
        if key not in self.raw:
            self.raw[key] = self._map(key)
        held = claimed_bytes(kind, count, held=len(self.raw[key]), key=key)
        if (key, kind) not in self.found:
            self.found[key, kind] = Storage(typed(self.raw[key][:held], kind))
        return self.found[key, kind]

    def _map(self, key: str) -> Tensor:
        start, size = self.archive.span(self.folder + key)
        self.total += size
        if self.total > len(self.archive.data):
            raise Unreadable("its storages lie on top of each other")
        if not size:
            return torch.empty(0, dtype=torch.uint8)
        raw = torch.frombuffer(self.archive.data, dtype=torch.uint8, count=size, offset=start)
        return raw if raw.data_ptr() % 16 == 0 else raw.clone()
