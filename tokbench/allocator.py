"""What the C library keeps of memory that nobody uses, given back to the system."""

from __future__ import annotations

import ctypes
from contextlib import suppress


def give_back() -> None:
    """Give back what is free, where the C library is glibc; others do so by themselves, or have no way."""
    with suppress(AttributeError, OSError, TypeError):  # no such function, no such library, or a system that wants its name
        ctypes.CDLL(None).malloc_trim(0)
