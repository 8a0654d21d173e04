"""Code that lives outside this package, named as ``package.module:Class``."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

from tokbench.errors import TokbenchError


def import_class(reference: str) -> Any:
    """Import ``package.module:Class``; the current folder counts as a place to import from.

    Raises:
        TokbenchError: If module or class is missing.
    """
    module_name, _, class_name = reference.partition(":")
    here = os.getcwd()
    added = here not in sys.path
    if added:
        sys.path.append(here)
    try:
        module = import_module(module_name)
    except ImportError as error:
        reason = f"cannot import {module_name!r} for {reference!r} ({error})"
        raise TokbenchError(f"{reason}; give package.module:Class, importable from here") from error
    finally:
        if added:
            sys.path.remove(here)
    try:
        return getattr(module, class_name)
    except AttributeError as error:
        raise TokbenchError(f"module {module_name!r} has no {class_name!r}; give package.module:Class") from error
