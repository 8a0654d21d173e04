"""What the names in a pickle mean here: a few are plain containers, a reader adds its own, all others are lifeless."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_ARGUMENTS = 16
"""Arguments a function of a ``Vocabulary`` may be given; with more its name is inert."""

ARMED = re.compile(
    r"(os|posix|nt|subprocess|pty|shutil|runpy|importlib|ctypes|socket|webbrowser)\..+"
    r"|builtins\.(eval|exec|execfile|compile|open|__import__|input|breakpoint)|_?io\.open(_code)?"
    r"|commands\.(call|check_call|check_output|getoutput|getstatusoutput|run|Popen)"
)
"""Names that only an attack puts into a weights file. They would do nothing here; refusing keeps the file from readers they do harm to.

Pickles of protocol 2 have Python 2's names for some modules: ``commands`` for ``subprocess``.
"""


class Unreadable(ValueError):
    """Why a file cannot be read, in a few words; whoever knows the file's name makes a sentence of it."""


@dataclass(frozen=True, eq=False, slots=True)
class Global:
    """The name of a class or function that is neither imported nor called."""

    name: str


@dataclass(eq=False, slots=True)
class Inert:
    """What a file made of a ``Global``: its kind, and the state the file gave it, as data."""

    kind: str
    state: object = None


@dataclass(frozen=True)
class Vocabulary:
    """The names a kind of pickle may use, and what they mean here.

    Args:
        functions: Called with the file's arguments, so each must bear any argument: raise, or do what is harmless and quick.
        constants: What stands for a name instead of a ``Global``.
        persistent: Called with what the file gives as a persistent id.
    """

    functions: Mapping[str, Callable[..., object]]
    constants: Mapping[str, object]
    persistent: Callable[[object], object]


def no_persistent(identity: object) -> object:
    """Refuse persistent ids, for pickles that have none."""
    raise Unreadable("it refers to something outside itself")


PLAIN = Vocabulary({}, {}, no_persistent)
"""For pickles of plain containers, numbers and text."""


def printable(text: str) -> str:
    """Text of a file, fit for a terminal."""
    text = text if len(text) <= 100 else f"{text[:97]}..."
    return text if text.isprintable() else ascii(text)


def kind_of(value: object) -> str:
    """Name of the class of a value, or of what it stands in for."""
    return value.name if type(value) is Global else value.kind if type(value) is Inert else type(value).__name__


def plain_key(value: Any) -> Any:
    """A value that may be a key of a mapping or a member of a set: a plain scalar as it is, anything else as ``Inert``."""
    # Hashing a nested tuple may recurse without end, and hashes of huge integers and of tuples can be made to collide.
    if type(value) in (str, bytes, bool, float, type(None), Global, Inert) or (type(value) is int and -(2**63) <= value < 2**63):
        return value
    return Inert(type(value).__name__)


def _dict(pairs: object = None) -> dict[Any, Any]:
    if type(pairs) is dict:
        return dict(pairs)
    if type(pairs) is list and all(type(pair) in (list, tuple) and len(pair) == 2 for pair in pairs):
        return {plain_key(key): value for key, value in pairs}
    return {}


def _set(items: object = ()) -> set[Any]:
    if type(items) is not list and type(items) is not tuple:
        raise Unreadable("its pickle makes a set of what is no list")
    return {plain_key(item) for item in items}


CONTAINERS: dict[str, Callable[..., object]] = {
    "collections.OrderedDict": _dict,
    "collections.defaultdict": lambda factory=None, *more: _dict(*more),
    "collections.Counter": _dict,
    "builtins.set": _set,
    "builtins.frozenset": _set,
}
