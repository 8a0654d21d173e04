"""The base class of torchmetrics, imported without its hundred metrics and whatever these need.

``import torchmetrics`` imports text, audio and networks of others too, which takes longer than ``import torch``.
"""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from threading import RLock
from types import ModuleType
from typing import Any

NAME = "torchmetrics"

_lock = RLock()


class _Unopened(ModuleType):
    """The package before its own code has run: that runs as soon as a name is asked for that is not there yet."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or self.__spec__ is None or self.__spec__.loader is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        with _lock:
            if isinstance(self, _Unopened):  # no other thread was quicker
                self.__class__ = ModuleType  # type: ignore[assignment]
                self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def _import_base() -> None:
    """Import ``torchmetrics.metric`` and leave the package for whoever asks for more; all of it where a version does not allow that."""
    spec = find_spec(NAME) if NAME not in sys.modules else None
    if spec is None:
        return  # it is there, or missing, which the import below says
    package = module_from_spec(spec)
    package.__class__ = _Unopened
    package._logger = logging.getLogger(NAME)  # type: ignore[attr-defined]  # what the base class prints by
    sys.modules[NAME] = package
    try:
        import_module(f"{NAME}.utilities")
    except ImportError:
        for name in [name for name in sys.modules if name == NAME or name.startswith(f"{NAME}.")]:
            del sys.modules[name]


_import_base()

from torchmetrics.metric import Metric  # noqa: E402
from torchmetrics.utilities import dim_zero_cat  # noqa: E402

__all__ = ["Metric", "dim_zero_cat"]
