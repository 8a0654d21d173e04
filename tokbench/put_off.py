"""Imports of parts of libraries, without what whole libraries import and a caller seldom needs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from threading import RLock
from types import ModuleType
from typing import Any

_lock = RLock()


class _Unopened(ModuleType):
    """A package before its own code has run: that runs as soon as a name is asked for that is not there yet."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or self.__spec__ is None or self.__spec__.loader is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        with _lock:
            if isinstance(self, _Unopened):  # no other thread was quicker
                self.__class__ = ModuleType  # type: ignore[assignment]
                self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def import_part(part: str, packages: Mapping[str, Mapping[str, Any]]) -> None:
    """Import a module and leave the packages it lies in for whoever asks them for more.

    All is imported as always where a package is there already, and where a version of the library does not allow to leave it.

    Args:
        part: Full name of the module.
        packages: Names of packages not to be run, the outer ones first, each with what the part takes from it.

    Raises:
        ImportError: If the library is missing or does not import.
    """
    outer = next(iter(packages))
    if outer not in sys.modules and find_spec(outer) is not None:
        try:
            _leave(packages)
            import_module(part)
        except (ImportError, AttributeError):
            for name in [name for name in sys.modules if name == outer or name.startswith(f"{outer}.")]:
                del sys.modules[name]
    import_module(part)


def _leave(packages: Mapping[str, Mapping[str, Any]]) -> None:
    for name, taken in packages.items():
        spec = find_spec(name)
        if spec is None:
            raise ImportError(f"no package {name!r}")
        package = module_from_spec(spec)
        package.__class__ = _Unopened
        vars(package).update(taken)
        sys.modules[name] = package
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, package)


class _StandIn(ModuleType):
    """A module that has not been imported; it is as soon as a name is asked for that the stand-in has not."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(_real(self.__name__), name)


def _real(name: str) -> ModuleType:
    if isinstance(sys.modules.get(name), _StandIn):
        del sys.modules[name]
    return import_module(name)


@contextmanager
def put_off(module: str, *functions: str, **values: Any) -> Iterator[None]:
    """Let imports take names from a module without importing it; a function imports it when it is called.

    Whoever imports the module afterwards gets the module itself, and so does who asks for another name meanwhile.

    Args:
        module: Full name. If it is imported already, nothing is done.
        functions: What is taken from it and not called before the block ends.
        values: Other names that are taken, such as types of annotations, and what they are for those who take them.
    """
    if module in sys.modules:
        yield
        return
    stand_in = _StandIn(module)
    vars(stand_in).update({name: _later(module, name) for name in functions} | values)
    sys.modules[module] = stand_in
    try:
        yield
    finally:
        if sys.modules.get(module) is stand_in:
            del sys.modules[module]


def _later(module: str, name: str) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        return getattr(_real(module), name)(*args, **options)

    call.__name__ = call.__qualname__ = name
    call.__module__ = module
    return call
