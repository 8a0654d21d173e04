"""Weight files: safe to open, loaded strictly, digested."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors.torch import save
from torch import Tensor, nn

from tokbench.errors import TokbenchError
from tokbench.files import write_bytes
from tokbench.weights.choice import DEFAULT, Choice
from tokbench.weights.entries import find_entry
from tokbench.weights.fitting.fit import fit
from tokbench.weights.fitting.wanted import Unwrapped, Wanted
from tokbench.weights.torchfile.tensors import detach
from tokbench.weights.torchfile.words import printable
from tokbench.weights.weight_files import Format, Opened, open_file

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """What was read from weights.

    Args:
        found: The tensors, and which entry and names they had.
        sha256: Digest of the file; of several, that of the lines ``sha256sum`` prints for them.
        format: Format of the files; ``zip`` and ``legacy`` are those of ``torch.save``.
        note: Which of several forms in a folder was taken.
    """

    found: Unwrapped
    sha256: str
    format: Format
    note: str = ""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """By name."""
        return self.found.tensors

    @property
    def how(self) -> str:
        """Format, entry, prefixes, what was left out, and the choice among files, in words."""
        return f"{self.format}, {self.found.how}" + (f"; {self.note}" if self.note else "")


def read_fitting(
    model: nn.Module,
    opened: Opened,
    *,
    origin: str,
    choice: Choice = DEFAULT,
    rename: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
    bundles: tuple[str, ...] = (),
) -> Checkpoint:
    """Read the tensors of a model from whatever its weights are wrapped in, by the model's own names and shapes.

    Args:
        model: What they are for; it is left as it is.
        opened: The weights.
        origin: What to call them in errors.
        choice: What to leave out, and whether to take averages.
        rename: From names of a file to the model's, in the same order; what it does not know keeps its name.
        bundles: Parts of names under which a larger network holds this one.

    Returns:
        Tensors in memory of their own, by the model's names, and how they were found.

    Raises:
        DoesNotFit: If names or shapes do not fit, or tensors are left over that nobody drops.
        TokbenchError: If what the user chose is not there, or several sets fit and nothing tells them apart.
    """
    own, what = model.state_dict(), type(model).__name__
    shapes = {name: value.shape for name, value in own.items()}
    wanted = Wanted(what, shapes, frozenset(name for name, _ in model.named_parameters()), rename, bundles)
    found = fit(opened.content, wanted, opened.values, origin=origin, choice=choice)
    try:
        if not found.fits:
            check_fit(own, rename(found.tensors), origin=origin, what=what)
        if found.unknown:
            raise DoesNotFit(_left_over(found, origin, what))
    except DoesNotFit as error:
        error.state, error.complete = (
            found.tensors | {name: value for name, value in found.unknown.items() if isinstance(value, Tensor)},
            found.fits,
        )
        raise
    if opened.format == "zip":
        found = replace(found, tensors=detach(found.tensors))
    files = list(dict.fromkeys(opened.places[name] for name in found.names if name in opened.places)) or list(opened.files)
    checkpoint = Checkpoint(found, _digest(sorted(files)), opened.format, opened.note)
    logger.info("read %s: %s", origin, checkpoint.how)
    return checkpoint


def _left_over(found: Unwrapped, origin: str, what: str) -> str:
    """Name what a file has beside all of a model, and how to leave it out."""
    beginnings: dict[str, None] = {}
    for name in found.unknown:
        parts = name.split(".")
        heads = [".".join(parts[: count + 1]) + "." for count in range(len(parts) - 1)] + [name]
        beginnings[next((head for head in heads if not any(needed.startswith(head) for needed in found.needed)), name)] = None
    drops = " ".join(f"--drop {printable(head)}" for head in list(beginnings)[:6]) + (" ..." if len(beginnings) > 6 else "")
    return (
        f"{origin} does not fit {what}: {len(found.unknown)} unknown: {_first(list(found.unknown))}. Nothing is missing: "
        f"if these are no part of the tokenizer, leave them out with {drops} (drop=(...) in Python)."
    )


def _digest(files: Sequence[Path]) -> str:
    if len(files) == 1:
        return sha256(files[0])
    return hashlib.sha256("".join(f"{sha256(path)}  {path.name}\n" for path in files).encode()).hexdigest()


def read_state(path: Path, *, entry: str = "state_dict") -> tuple[dict[str, Tensor], str]:
    """Read tensors by the names they have in the file.

    Args:
        path: The file.
        entry: Where the tensors are, if the file holds more than them; other usual places are tried after it.

    Returns:
        Tensors by name, and the file's SHA-256.

    Raises:
        TokbenchError: If the file is missing or cannot be read safely.
    """
    opened = open_file(path)
    found = find_entry(opened.content, origin=str(path), prefer=(entry,))
    state = detach(found) if opened.format == "zip" else opened.values(found)
    return state, _digest(opened.files)


class DoesNotFit(TokbenchError):
    """Tensors that are not those of a model, by name or shape.

    Attributes:
        state: The tensors by the names of the file, without prefix; perhaps without values.
        complete: Whether nothing of the model is missing.
    """

    state: Mapping[str, Tensor] = MappingProxyType({})
    complete: bool = False


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], *, origin: str) -> None:
    """Copy tensors into a model; every name and shape must fit, and no value may be NaN or infinite.

    Args:
        model: Filled in place; its dtype is kept.
        state: Tensors by the model's own names.
        origin: What to call the file in errors.

    Raises:
        DoesNotFit: Naming the keys that are missing, unknown or of another shape (first ten and the count).
        TokbenchError: Naming the keys that are not finite.
    """
    own = model.state_dict()
    check_fit(own, state, origin=origin, what=type(model).__name__)
    broken = [key for key, value in state.items() if value.is_floating_point() and not _all_finite(value)]
    if broken:
        count = f"{len(broken)} tensors: {_first(broken)}"
        raise TokbenchError(f"{origin} holds NaN or infinity in {count}; the file is damaged or training diverged")
    model.load_state_dict({key: value.to(own[key].dtype) for key, value in state.items()}, strict=True)


def check_fit(own: Mapping[str, Tensor], state: Mapping[str, Tensor], *, origin: str, what: str) -> None:
    """Compare names and shapes of tensors with those of a model.

    Args:
        own: The model's, perhaps without memory.
        state: Those that shall be loaded.
        origin: What to call the file in errors.
        what: What to call the model.

    Raises:
        DoesNotFit: Naming the keys that are missing, unknown or of another shape (first ten and the count).
    """
    problems = []
    for word, keys in (
        ("missing", [key for key in own if key not in state]),
        ("unknown", [key for key in state if key not in own]),
        ("of another shape", [key for key in own if key in state and own[key].shape != state[key].shape]),
    ):
        if keys:
            problems.append(f"{len(keys)} {word}: {_first(keys)}")
    if problems:
        raise DoesNotFit(f"{origin} does not fit {what}: {'; '.join(problems)}. Is it of another variant?")


def save_weights(state: Mapping[str, Tensor], path: Path, *, about: Mapping[str, object], dtype: torch.dtype | None = None) -> str:
    """Write tensors as safetensors, atomically.

    Args:
        state: Tensors by name.
        path: Where to; parents are made.
        about: Plain values kept as JSON in the file's header.
        dtype: Floating tensors are stored as this; None keeps them.

    Returns:
        SHA-256 of the file.

    Raises:
        TokbenchError: If it cannot be written.
    """
    tensors = {key: (value.to(dtype) if dtype and value.is_floating_point() else value).contiguous().cpu() for key, value in state.items()}
    data = save(tensors, metadata={"tokbench": json.dumps(about, sort_keys=True)})
    write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


def sha256(path: Path) -> str:
    """Digest of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _all_finite(value: Tensor) -> bool:
    return bool(torch.isfinite(value.float() if value.element_size() == 1 else value).all())  # torch has no isfinite of 8 bits


def _first(keys: list[str]) -> str:
    return ", ".join(map(printable, sorted(keys)[:10])) + (", ..." if len(keys) > 10 else "")
