"""Pickles of Python itself with tensors in them, as ``pickle.dump`` writes: each storage is a whole file of ``torch.save`` in bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokbench.weights.torchfile.legacy import read_legacy
from tokbench.weights.torchfile.machine import read_pickle
from tokbench.weights.torchfile.tensors import Storage, vocabulary
from tokbench.weights.torchfile.words import Inert, Unreadable, Vocabulary, no_persistent

MAX_SIZE = 2**24
"""Bytes of such a file: they hold statistics, no weights."""

STORAGE = "torch.storage._load_from_bytes"
BYTES = "_codecs.encode"
"""What protocol 2 makes bytes with, out of text."""


def read_plain_pickle(path: Path) -> object:
    """Read a pickle of containers, numbers, text and tensors.

    Args:
        path: The file.

    Returns:
        The content, in which classes and objects are ``Global`` and ``Inert``, as those of ``read_torch_file``.

    Raises:
        Unreadable: If it is damaged, larger than ``MAX_SIZE``, or names what only an attack would.
    """
    size = path.stat().st_size
    if size > MAX_SIZE:
        raise Unreadable(f"it has {size} bytes, and statistics have at most {MAX_SIZE}")
    data = path.read_bytes()
    made: dict[str | bytes, Any] = {}  # of each text or bytes once, so that a file cannot have the same ones read again and again
    spent = {True: 0, False: 0}

    def once(held: str | bytes, make: Callable[[Any], object]) -> object:
        if held not in made:
            spent[isinstance(held, bytes)] += len(held)
            if spent[isinstance(held, bytes)] > len(data):
                raise Unreadable("its tensors claim more bytes than it has")
            made[held] = make(held)
        return made[held]

    def storage(held: object = None, *rest: object) -> object:
        if not isinstance(held, bytes):
            raise Unreadable("its tensors are no bytes")
        return once(held, _storage)

    def encoded(text: object = None, encoding: object = None, *rest: object) -> object:
        return once(text, _latin) if isinstance(text, str) and encoding == "latin1" else Inert(BYTES)

    words = vocabulary(no_persistent)
    return read_pickle(
        data, 0, len(data), Vocabulary({**words.functions, STORAGE: storage, BYTES: encoded}, words.constants, no_persistent)
    )[0]


def _storage(held: bytes) -> object:
    found = read_legacy(bytearray(held))
    return found if isinstance(found, Storage) else Inert("storage")


def _latin(text: str) -> bytes:
    return text.encode("latin1")
