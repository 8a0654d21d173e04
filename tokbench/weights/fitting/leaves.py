"""Every named value of a checkpoint, whatever mappings and modules it lies in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tokbench.errors import TokbenchError
from tokbench.weights.entries import MAX_DEPTH, module_state
from tokbench.weights.fitting.wanted import Leaf, Wanted
from tokbench.weights.torchfile.words import Inert, printable

MARKERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "module")
"""Parts of names that torch and Lightning put in for compiled, sharded, recomputed and parallel modules, at any depth."""

NO_WEIGHTS = re.compile(r"(?:.*_)?(?:optim\w*|opt|(?:lr_?)?schedul\w*|(?:grad_?)?scaler|rng)(?:_.*|\d*)", re.IGNORECASE)
"""Names of entries that hold the state of training, whose tensors may have the names and shapes of weights."""
_MAX_NAMES = 250_000


def leaves_of(content: object, wanted: Wanted, origin: str) -> list[Leaf]:
    """List every named value, but for the state of training.

    Args:
        content: A mapping, possibly of mappings; or a pickled module.
        wanted: What the model needs; what it names itself is no marker.
        origin: What to call the file in errors.

    Raises:
        TokbenchError: If there are too many to be those of a model.
    """
    own = {part for name in wanted.shapes for part in name.split(".")}
    parts = [re.escape(marker) for marker in MARKERS if marker not in own]
    markers = re.compile(rf"(?:(?<=\.)|^)(?:{'|'.join(parts)})\.")
    found: list[Leaf] = []
    modules: dict[int, Mapping[Any, Any]] = {}

    def mapping(part: object) -> Mapping[Any, Any]:
        if isinstance(part, Inert) and id(part) not in modules:
            modules[id(part)] = module_state(part) or {}
        return part if isinstance(part, Mapping) else modules.get(id(part), {})

    waiting: list[tuple[str, Mapping[Any, Any], int]] = [("", mapping(content), 0)]
    while waiting:
        entry, part, depth = waiting.pop()
        inner = []
        for key, value in part.items():
            if not isinstance(key, str):
                continue
            if depth < MAX_DEPTH and (nested := mapping(value)):
                if not NO_WEIGHTS.fullmatch(key):
                    inner.append((f"{entry}.{key}" if entry else key, nested, depth + 1))
                continue
            full = f"{entry}.{key}" if entry else key
            found.append(Leaf(entry, key, value, markers.sub("", full)))
        waiting += reversed(inner)
        if len(found) > _MAX_NAMES or len(waiting) > _MAX_NAMES:
            raise TokbenchError(f"{origin} holds more than {_MAX_NAMES} names, or contains itself; save the model's state_dict alone")
    return found


def no_tensors(content: object, leaves: Sequence[Leaf], origin: str) -> TokbenchError:
    """Build the error for a checkpoint without tensors, to be raised by the caller."""
    if isinstance(content, Mapping) and isinstance(content.get("shadow_params"), list | tuple):
        return TokbenchError(
            f"{origin} holds averages as a list without names (shadow_params); give the file that holds them with the model, "
            "or copy them into the model and save its state_dict"
        )
    odd = [leaf.full for leaf in leaves][:5] or [type(key).__name__ for key in (content if isinstance(content, Mapping) else ())][:5]
    names = ", ".join(map(printable, odd))
    return TokbenchError(f"{origin} holds no plain mapping of names to tensors" + (f"; no tensors: {names}" if names else ""))


def items_of(content: object) -> list[tuple[str, object]]:
    """The named parts of a mapping; none of anything else."""
    return [(key, value) for key, value in content.items() if isinstance(key, str)] if isinstance(content, Mapping) else []
