"""Code that lives outside this package, named as ``package.module:Class``."""

from __future__ import annotations

import ast
import difflib
import os
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from tokbench.errors import TokbenchError, brief
from tokbench.signals import Ended


def import_class(reference: str, *, what: str = "Class") -> Any:
    """Import ``package.module:Class``; the current folder counts as a place to import from.

    Args:
        reference: Module and name.
        what: What the name shall be, as an error says it: ``Class``, or ``function`` and the like, where any name of the module is near.

    Raises:
        TokbenchError: If module or class is missing, or the module cannot be imported.
    """
    module_name, _, class_name = reference.partition(":")
    try:
        here = os.getcwd()
    except OSError:  # it was deleted
        here = ""
    added = bool(here) and here not in sys.path
    if added:
        sys.path.append(here)
    try:
        module = import_module(module_name)
    except (KeyboardInterrupt, Ended):
        raise
    except BaseException as error:  # code of others: it may raise anything, and even end the process
        reason = f"cannot import {module_name!r} for {reference!r} ({brief(error)})"
        raise TokbenchError(f"{reason}; give package.module:{what}, importable from here") from error
    finally:
        if added:
            sys.path.remove(here)
    try:
        return getattr(module, class_name)
    except Exception as error:  # AttributeError; or what a module's own ``__getattr__`` raises
        named = [name for name, value in vars(module).items() if isinstance(value, type) or what != "Class"]
        near = difflib.get_close_matches(class_name, named, n=1)
        advice = f"did you mean {module_name}:{near[0]}?" if near else f"give package.module:{what}"
        raise TokbenchError(f"module {module_name!r} has no {class_name!r}; {advice}") from error


def hint(name: str, base: str) -> str:
    """Say how a name is to be written that looks like a class or a file of Python.

    Args:
        name: As the user wrote it, such as ``blocky.Blocky`` or ``blocky.py``.
        base: Name of the class that such classes are of, such as ``Tokenizer``.

    Returns:
        A sentence; empty if it looks like neither. A file is looked into, not run.
    """
    path = Path(name.partition(":")[0])
    if not path.name:
        return ""
    file = path if path.suffix == ".py" else path.with_name(f"{path.name}.py")
    if path.suffix == ".py" or os.path.isfile(file):
        found = _classes(file, base)
        module = ".".join(part for part in file.with_suffix("").parts if part not in (".", "/"))
        return f"A class of your own is module:Class, here {module}:{found[0] if found else 'CLASS'}, from the folder it lies in."
    module, _, last = name.replace("/", ".").rpartition(".")
    if module and re.fullmatch(r"[A-Za-z_][\w.]*", module) and re.fullmatch(r"[A-Z]\w*", last):
        return f"A class of your own is module:Class, here {module}:{last}."
    return ""


def _classes(file: Path, base: str) -> list[str]:
    """Names of the classes of a file that seem to be of some kind, by the names of what they derive from."""
    if not os.path.isfile(file):
        return []
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return []
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return [node.name for node in classes if any(ast.unparse(parent).endswith(base) for parent in node.bases)]
