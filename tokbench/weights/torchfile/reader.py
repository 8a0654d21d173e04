"""Open a file of ``torch.save``, whichever of its two formats it has."""

from __future__ import annotations

from mmap import ACCESS_COPY, mmap
from pathlib import Path
from typing import Any, Literal

from tokbench.weights.torchfile.archive import read_archive
from tokbench.weights.torchfile.legacy import read_legacy
from tokbench.weights.torchfile.words import Unreadable


def read_torch_file(path: Path) -> tuple[Any, Literal["zip", "legacy"]]:
    """Read a file of ``torch.save``, whatever it holds beside tensors.

    Args:
        path: The file. Tensors of a zip archive lie in its pages, so it must stay as it is until they are gone or copied (``detach``).

    Returns:
        The content, in which classes and objects are ``Global`` and ``Inert`` and parameters are tensors, and the file's format,
        ``zip`` or ``legacy``.

    Raises:
        Unreadable: If it is damaged, claims more than it holds, is of another kind, or names what only an attack would.
    """
    with path.open("rb") as file:
        head = file.read(24)
        if not head:
            raise Unreadable("it is empty")
        if head.startswith(b"version https://git-lfs"):
            raise Unreadable("it is a Git LFS pointer; fetch the file itself")
        data = mmap(file.fileno(), 0, access=ACCESS_COPY)
    return (read_archive(data), "zip") if head.startswith(b"PK\x03\x04") else (read_legacy(data), "legacy")
