"""Code that lives outside this package, named as ``package.module:Class``."""

from __future__ import annotations

import difflib
import os
import sys
from importlib import import_module
from typing import Any

from tokbench.errors import TokbenchError, brief
from tokbench.signals import Ended


def import_class(reference: str) -> Any:
    """Import ``package.module:Class``; the current folder counts as a place to import from.

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
        raise TokbenchError(f"{reason}; give package.module:Class, importable from here") from error
    finally:
        if added:
            sys.path.remove(here)
    try:
        return getattr(module, class_name)
    except Exception as error:  # AttributeError; or what a module's own ``__getattr__`` raises
        near = difflib.get_close_matches(class_name, [name for name, value in vars(module).items() if isinstance(value, type)], n=1)
        advice = f"did you mean {module_name}:{near[0]}?" if near else "give package.module:Class"
        raise TokbenchError(f"module {module_name!r} has no {class_name!r}; {advice}") from error
