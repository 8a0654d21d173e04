"""Where the tensors are in what a checkpoint holds, for files whose names are left as they are; and the tensors of pickled modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.weights.torchfile.words import Inert, printable

ENTRIES = (
    "state_dict",
    *("ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "params_ema", "generator_ema", "g_ema"),
    *("model", "model_state_dict", "generator", "net", "network", "params", "module", "autoencoder", "vae", "tokenizer", "weights"),
)
"""Where the tensors may be, in the order of preference."""

MAX_DEPTH = 8
"""Mappings within mappings."""
_MAX_ITEMS, _MAX_PATH = 200_000, 1000


def find_entry(content: object, *, origin: str, prefer: Sequence[str] = ()) -> dict[str, Tensor]:
    """Find the tensors of one model and leave their names as they are.

    Args:
        content: A mapping, possibly of mappings; or a pickled module.
        origin: What to call the file in errors.
        prefer: Entries to try first, before ``ENTRIES``.

    Raises:
        TokbenchError: If there is no mapping of names to tensors.
    """
    return _checked(_enter(content, (*prefer, *ENTRIES)), origin)


def module_state(module: Inert) -> dict[str, object] | None:
    """The state dict of a pickled module, from its inert remains.

    Args:
        module: As ``read_torch_file`` returns it.

    Returns:
        Parameters and persistent buffers by name; None if it is no module.
    """
    if not isinstance(module.state, dict) or not isinstance(module.state.get("_modules"), dict):
        return None
    found: dict[str, object] = {}
    waiting: list[tuple[str, object]] = [("", module)]
    budget = _MAX_ITEMS
    while waiting:
        path, part = waiting.pop()
        state = part.state if isinstance(part, Inert) and isinstance(part.state, dict) else {}
        parameters, buffers, modules = (_items(state.get(kind)) for kind in ("_parameters", "_buffers", "_modules"))
        budget -= 1 + len(parameters) + len(buffers) + len(modules)
        if budget < 0 or len(path) > _MAX_PATH:
            return None  # it contains itself
        hidden = state.get("_non_persistent_buffers_set")
        persistent = [(name, value) for name, value in buffers if not (isinstance(hidden, set) and name in hidden)]
        found |= {path + name: value for name, value in (*parameters, *persistent) if value is not None}
        waiting += [(f"{path}{name}.", child) for name, child in reversed(modules) if child is not None]
    return found


def _items(value: object) -> list[tuple[str, object]]:
    return [(key, item) for key, item in value.items() if isinstance(key, str)] if isinstance(value, dict) else []


def _mapping(content: object) -> Mapping[Any, Any]:
    if isinstance(content, Mapping):
        return content
    return module_state(content) or {} if isinstance(content, Inert) else {}


def _enter(content: object, entries: Sequence[str]) -> dict[Any, Any]:
    state = _mapping(content)
    for _ in range(MAX_DEPTH):
        inner = next((found for name in entries if (found := _mapping(state.get(name)))), None)
        if inner is None:
            break
        state = inner
    return dict(state)


def _checked(state: dict[Any, Any], origin: str) -> dict[str, Tensor]:
    odd = [key for key, value in state.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if odd or not state:
        names = ", ".join(printable(key) if isinstance(key, str) else type(key).__name__ for key in odd[:5])
        raise TokbenchError(f"{origin} holds no plain mapping of names to tensors" + (f"; no tensors: {names}" if odd else ""))
    return state
