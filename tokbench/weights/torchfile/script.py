"""Tensors of a TorchScript archive: its program is never loaded, its objects are read as data.

data.pkl -> objects of classes ``__torch__...``, each a mapping of attributes -> names with dots
code/...  -> which attributes of a class are parameters and buffers, read off its text
"""

from __future__ import annotations

import re
from mmap import ACCESS_COPY, mmap
from pathlib import Path

from torch import Tensor

from tokbench.weights.torchfile.archive import Archive, read_data, root_of
from tokbench.weights.torchfile.tensors import detach
from tokbench.weights.torchfile.words import Inert, Unreadable

MAX_DEPTH = 200
"""Modules within modules."""
MAX_MODULES = 100_000

_CLASS = re.compile(r"^class (\w+)\(Module\):\n((?:  .*\n?)*)", re.MULTILINE)
_LISTED = re.compile(r"^  __(?:parameters|buffers)__ = \[(.*)\]$", re.MULTILINE)
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"')


def read_script(path: Path) -> dict[str, Tensor]:
    """Read the parameters and buffers of a TorchScript archive, by the names of its ``state_dict``.

    Loading such an archive with torch runs code of it (a class may say what happens when it is unpickled). Here nothing is run.

    Args:
        path: The archive.

    Returns:
        Tensors in memory of their own.

    Raises:
        Unreadable: If it is damaged or no TorchScript archive.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            raise Unreadable("it is no zip archive")
        archive = Archive(mmap(file.fileno(), 0, access=ACCESS_COPY))
    root = root_of(archive)
    if f"{root}constants.pkl" not in archive.records:
        raise Unreadable("it holds weights without a program; without torchscript: it is read as weights")
    top = read_data(archive, root)
    if type(top) is not Inert or not isinstance(top.state, dict):
        raise Unreadable("it holds no module")
    found: dict[str, Tensor] = {}
    _collect(top, "", _Classes(archive, root), found)
    return detach(found)


def _collect(top: Inert, prefix: str, classes: _Classes, found: dict[str, Tensor]) -> None:
    waiting, seen = [(top, prefix, 0)], 0
    while waiting:
        module, prefix, depth = waiting.pop()
        seen += 1
        if depth > MAX_DEPTH or seen > MAX_MODULES:
            raise Unreadable(f"its modules lie more than {MAX_DEPTH} deep, or are more than {MAX_MODULES}")
        state = module.state if isinstance(module.state, dict) else {}
        kept = classes.tensors(module.kind)
        found |= {f"{prefix}{key}": value for key, value in state.items() if key in kept and isinstance(value, Tensor)}
        inner = [(value, f"{prefix}{key}.", depth + 1) for key, value in state.items() if type(value) is Inert]
        waiting += reversed([row for row in inner if row[0].kind.startswith("__torch__.")])


class _Classes:
    """Names of the parameters and buffers of an archive's classes."""

    def __init__(self, archive: Archive, root: str) -> None:
        self.archive, self.root = archive, root
        self.known: dict[str, frozenset[str]] = {}
        self.read: set[str] = set()

    def tensors(self, kind: str) -> frozenset[str]:
        module, _, name = kind.rpartition(".")
        if module not in self.read:
            self.read.add(module)
            for match in _CLASS.finditer(self.archive.text(f"{self.root}code/{module.replace('.', '/')}.py")):
                words = (word for line in _LISTED.findall(match[2]) for word in _WORD.findall(line))
                self.known[f"{module}.{match[1]}"] = frozenset(words)
        if kind not in self.known:
            raise Unreadable(f"its class {name} is not in its program")
        return self.known[kind]
