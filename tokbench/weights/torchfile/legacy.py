"""Files of ``torch.save`` before version 1.6: three pickles of a head, the content, the storages' keys, then their bytes."""

from __future__ import annotations

from mmap import mmap
from typing import Any

import torch
from torch import Tensor

from tokbench.weights.torchfile.machine import read_pickle
from tokbench.weights.torchfile.tensors import Kind, Storage, claimed_bytes, short_counts, typed, vocabulary
from tokbench.weights.torchfile.words import Unreadable, printable

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001


def read_legacy(data: bytearray | mmap) -> object:
    """Read the content of a stream; its tensors are copies.

    Args:
        data: The whole file.

    Raises:
        Unreadable: If it is damaged, no stream of ``torch.save``, or one that was saved on another kind of machine.
    """
    position = _read_head(data)
    storages = _Storages(len(data) - position)
    content, position = read_pickle(data, position, len(data), vocabulary(storages.find))
    keys, position = read_pickle(data, position, len(data))
    if type(keys) is not list or not all(type(key) is str for key in keys) or sorted(keys) != sorted(storages.claims):
        raise Unreadable("its list of storages is not that of its tensors")
    for key in keys:
        position = storages.fill(key, data, position)
    return content


def _read_head(data: bytearray | mmap) -> int:
    position, head = 0, []
    try:
        for _ in range(3):
            value, position = read_pickle(data, position, len(data))
            head.append(value)
            if head[0] != MAGIC_NUMBER:
                raise Unreadable("it is a pickle, but none of torch.save")
    except Unreadable as error:
        raise error if head else Unreadable(f"it is neither a zip archive nor a stream of torch.save: {error}") from None
    if head[1] != PROTOCOL_VERSION or type(head[2]) is not dict or head[2].get("little_endian") is not True:
        raise Unreadable("its version is not known or its byte order not little-endian")
    return position


class _Storages:
    """What the content claims; made before the bytes come, so that tensors can be views, and filled afterwards."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.claims: dict[str, tuple[Tensor, Kind]] = {}

    def find(self, identity: object) -> object:
        if type(identity) is tuple and len(identity) == 4 and identity[0] == "module":
            return identity[1]  # a class, saved with its source
        if type(identity) is not tuple or len(identity) != 6 or identity[0] != "storage" or type(identity[2]) is not str:
            raise Unreadable("it refers to something that is no storage")
        kind, key, count, part = identity[1], identity[2], identity[4], identity[5]
        if not isinstance(kind, Kind):
            raise Unreadable("it has a storage of a kind that is not known, so what follows cannot be found")
        if key not in self.claims:
            size = claimed_bytes(kind, count, held=self.room, key=key)
            self.room -= size
            self.claims[key] = torch.empty(size, dtype=torch.uint8), kind
        raw, first_kind = self.claims[key]
        if kind != first_kind or claimed_bytes(kind, count, held=len(raw), key=key) != len(raw):
            raise Unreadable(f"its storage {printable(key)} is claimed in two ways")
        return Storage(_part(raw if kind.dtype is None else raw.view(kind.dtype), part))

    def fill(self, key: str, data: bytearray | mmap, position: int) -> int:
        raw, kind = self.claims[key]
        count, start = int.from_bytes(data[position : position + 8], "little"), position + 8
        if count * kind.itemsize != len(raw) or start + len(raw) > len(data):
            raise Unreadable(f"its storage {printable(key)} is not as long as claimed; the file may be cut short")
        if len(raw):
            raw.copy_(torch.frombuffer(data, dtype=torch.uint8, count=len(raw), offset=start))
        typed(raw, kind)
        return start + len(raw)


def _part(values: Tensor, part: Any) -> Tensor:
    if part is None:
        return values
    start, size = short_counts(part[1:])
    if start + size > len(values):
        raise Unreadable("a part of a storage reaches beyond it")
    return values[start : start + size]
