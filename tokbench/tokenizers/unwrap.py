"""From what a checkpoint holds to the tensors of one model: which entry, which prefix, what training left behind.

    {"epoch", "optimizer", "state_dict": {"model.encoder.w", "model.decoder.w", "loss.v", ...}}
         entry state_dict  -->  without loss.  -->  without the prefix model.  -->  {"encoder.w", "decoder.w"}

Rules only; whatever no rule knows stays, so that strict loading names it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.tokenizers.torchfile.words import Inert, printable

ENTRIES = (
    "state_dict",
    *("ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "params_ema", "generator_ema", "g_ema"),
    *("model", "model_state_dict", "generator", "net", "network", "params", "module", "autoencoder", "vae", "tokenizer", "weights"),
)
"""Where the tensors may be, in the order of preference; averages come before what they are averages of."""

PREFIXES = ("module.", "first_stage_model.")
"""Of data-parallel training and of latent diffusion: stripped wherever every tensor has it."""

WRAPPERS = ("vae.", "model.")
"""Stripped only where the file shows that it is wrapped, since a model may well have such names of its own."""

BUNDLES = ("first_stage_model.", "vae.")
"""Prefixes of an autoencoder in a file of several networks."""

NEIGHBOURS = ("model.diffusion_model.", "cond_stage_model.", "conditioner.", "text_encoders.")
"""What tells a file of several networks."""

LEFTOVERS = (
    *("loss.", "criterion.", "discriminator.", "disc.", "optimizer", "lr_scheduler", "lpips", "perceptual_loss.", "model_ema."),
    *("quantize.codebook_used", "quantize.ema_vocab_hit_SV"),
)
"""Beginnings of names that training leaves in a file and no tokenizer needs."""

LIT_EMA = "model_ema."
"""Prefix of latent diffusion's averages, whose names have lost their dots."""
LIT_EMA_STATE = ("model_ema.decay", "model_ema.num_updates")

_COMPILED = re.compile(r"(^|\.)(?:_orig_mod\.)+")
_MAX_DEPTH, _MAX_ITEMS, _MAX_PATH = 8, 200_000, 1000


@dataclass(frozen=True)
class Unwrapped:
    """Tensors of one model, and how they were found.

    Args:
        tensors: By name.
        entry: Where they were, ``state_dict`` or ``model.ema``; empty if they were all of the file.
        prefixes: Taken off the names, in order.
        dropped: Beginnings of names that were left out, and how many tensors or other values each.
        averaged: How many tensors are latent diffusion's averages.
    """

    tensors: dict[str, Tensor]
    entry: str = ""
    prefixes: tuple[str, ...] = ()
    dropped: tuple[tuple[str, int], ...] = ()
    averaged: int = 0

    @property
    def how(self) -> str:
        """In words, for a record or a log."""
        parts = [f"entry {self.entry}" if self.entry else "the whole file", f"{len(self.tensors)} tensors"]
        parts += [f"{self.averaged} of them averages of {LIT_EMA}"] if self.averaged else []
        parts += [f"without the prefix {' '.join(self.prefixes)}"] if self.prefixes else []
        parts += ["left out: " + ", ".join(f"{count} {name}" for name, count in self.dropped)] if self.dropped else []
        return "; ".join(parts)


def unwrap(
    content: object,
    *,
    origin: str,
    prefer: Sequence[str] = (),
    prefixes: Sequence[str] = PREFIXES,
    wrappers: Sequence[str] = WRAPPERS,
    drop: Sequence[str] = LEFTOVERS,
    lit_ema: bool = False,
) -> Unwrapped:
    """Find the tensors of one model in what a checkpoint holds.

    Args:
        content: A mapping, possibly of mappings; or a pickled module, as ``read_torch_file`` returns it.
        origin: What to call the file in errors.
        prefer: Entries to try first, before ``ENTRIES``; an entry that is not there or empty is passed over.
        prefixes: Stripped if all names have it. Beside ``NEIGHBOURS``, one of ``BUNDLES`` is stripped and all without it is dropped.
        wrappers: Stripped if the file is seen to be wrapped, which is if its tensors stood in an entry, or something was dropped or
            stripped before: from all names, or from those that have it if only among them are an encoder and a decoder.
        drop: Beginnings of names to leave out.
        lit_ema: Whether to take latent diffusion's averages, where a tensor has one, instead of the tensor itself.

    Returns:
        The tensors, and how they were found.

    Raises:
        TokbenchError: If there is no mapping of names to tensors, or two names become one.
    """
    state, entry = _enter(content, (*prefer, *ENTRIES))
    if not all(isinstance(key, str) for key in state):
        _checked(state, origin)
    # Averages that are asked for lie under a prefix that may have to be taken off first.
    drop = [name for name in drop if not (lit_ema and name == LIT_EMA)]
    removed: list[str] = []
    dropped: Counter[str] = Counter()
    averaged = 0
    for _ in range(_MAX_DEPTH):
        before = state.keys()
        if lit_ema and not averaged:
            state, averaged = _averages(state, drop, dropped, origin)
        state = _renamed(state, {key: _COMPILED.sub(r"\1", key) for key in state if "_orig_mod." in key}, origin)
        state = _without(state, {key: name for key in state for name in drop if key.startswith(name)}, dropped)
        wrapped = bool(entry or dropped or removed)
        bundle = _bundle(state, (*prefixes, *wrappers))
        prefix = _prefix(state, prefixes) or bundle or (_prefix(state, wrappers) or _part(state, wrappers) if wrapped else None)
        if prefix:
            if prefix == bundle:
                state = _without(state, {key: f"outside {prefix}" for key in state if not key.startswith(prefix)}, dropped)
            state = _renamed(state, {key: key.removeprefix(prefix) for key in state if key.startswith(prefix)}, origin)
            removed.append(prefix)
        if state.keys() == before:
            break
    return Unwrapped(_checked(state, origin), entry, tuple(removed), tuple(dropped.items()), averaged)


def find_entry(content: object, *, origin: str, prefer: Sequence[str] = ()) -> Unwrapped:
    """Find the tensors of one model and leave their names as they are; ``unwrap`` without its rules for names.

    Args:
        content: A mapping, possibly of mappings; or a pickled module.
        origin: What to call the file in errors.
        prefer: Entries to try first, before ``ENTRIES``.

    Raises:
        TokbenchError: If there is no mapping of names to tensors.
    """
    state, entry = _enter(content, (*prefer, *ENTRIES))
    return Unwrapped(_checked(state, origin), entry)


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


def _enter(content: object, entries: Sequence[str]) -> tuple[dict[Any, Any], str]:
    state, path = _mapping(content), []
    for _ in range(_MAX_DEPTH):
        inner = next(((name, found) for name in entries if (found := _mapping(state.get(name)))), None)
        if inner is None:
            break
        path.append(inner[0])
        state = inner[1]
    return dict(state), ".".join(path)


def _averages(state: dict[str, Any], drop: Sequence[str], dropped: Counter[str], origin: str) -> tuple[dict[str, Any], int]:
    own = {key: value for key, value in state.items() if not key.startswith(LIT_EMA)}
    names: dict[str, str] = {}
    for key in own:
        if not key.startswith(tuple(drop)):
            undotted = key.replace(".", "")
            names[undotted] = key if undotted not in names else ""
    count = 0
    for key, value in state.items():
        undotted = key.removeprefix(LIT_EMA)
        if key in own:
            continue
        if names.get(undotted):
            own[names[undotted]] = value
            count += 1
        elif key in LIT_EMA_STATE or undotted.startswith(tuple(name.replace(".", "") for name in drop)):
            dropped[LIT_EMA] += 1
        else:
            number = "two tensors" if undotted in names else "a tensor that it does not have"
            raise TokbenchError(f"{origin} has an average, {printable(key)}, of {number}")
    return own, count


def _renamed(state: dict[str, Any], names: Mapping[str, str], origin: str) -> dict[str, Any]:
    renamed: dict[str, Any] = {}
    for key, value in state.items():
        name = names.get(key, key)
        if name in renamed:
            raise TokbenchError(f"{origin} has {printable(name)} twice, with and without a prefix")
        renamed[name] = value
    return renamed


def _without(state: dict[str, Any], reasons: Mapping[str, str], dropped: Counter[str]) -> dict[str, Any]:
    dropped.update(reasons.values())
    return {key: value for key, value in state.items() if key not in reasons}


def _prefix(state: Mapping[str, Any], prefixes: Sequence[str]) -> str | None:
    return next((prefix for prefix in prefixes if state and all(key.startswith(prefix) for key in state)), None)


def _bundle(state: Mapping[str, Any], allowed: Sequence[str]) -> str | None:
    if not any(key.startswith(NEIGHBOURS) for key in state):
        return None
    return next((prefix for prefix in BUNDLES if prefix in allowed and any(key.startswith(prefix) for key in state)), None)


def _part(state: Mapping[str, Any], wrappers: Sequence[str]) -> str | None:
    sides = ("encoder.", "decoder.")
    if any(key.startswith(sides) for key in state):
        return None
    return next((prefix for prefix in wrappers if all(any(key.startswith(prefix + side) for key in state) for side in sides)), None)


def _checked(state: dict[Any, Any], origin: str) -> dict[str, Tensor]:
    odd = [key for key, value in state.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if odd or not state:
        names = ", ".join(printable(key) if isinstance(key, str) else type(key).__name__ for key in odd[:5])
        raise TokbenchError(f"{origin} holds no plain mapping of names to tensors" + (f"; no tensors: {names}" if odd else ""))
    return state
