"""Weight files: safe to open, loaded strictly, digested."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from tokbench.errors import TokbenchError


def read_state(path: Path, *, entry: str = "state_dict") -> tuple[dict[str, Tensor], str]:
    """Read tensors from a safetensors file, or from a PyTorch file of tensors and plain containers.

    No code of the file is run: PyTorch files are opened with ``weights_only=True``.

    Args:
        path: The file.
        entry: Where the tensors are, if the file holds more than them.

    Returns:
        Tensors by name, and the file's SHA-256.

    Raises:
        TokbenchError: If the file is missing or cannot be read safely.
    """
    if not path.is_file():
        raise TokbenchError(f"no weights file at {path}; give a .safetensors or .pt file")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a mapping
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise TokbenchError(f"{path} is not a readable safetensors file ({error}); it may be truncated, or of another format") from error
    except Exception as error:  # the unpickler raises whatever a damaged file leads to
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise TokbenchError(
            f"{path} is not a readable PyTorch file of plain tensors ({reason[:160]}); convert it to safetensors"
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get(entry), Mapping):
        state = state[entry]
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise TokbenchError(f"{path} holds no plain mapping of names to tensors")
    return dict(state), sha256(path)


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], *, origin: str) -> None:
    """Copy tensors into a model; every name and shape must fit, and no value may be NaN or infinite.

    Args:
        model: Filled in place; its dtype is kept.
        state: Tensors by the model's own names.
        origin: What to call the file in errors.

    Raises:
        TokbenchError: Naming the keys that are missing, unknown, of another shape or not finite (first ten and the count).
    """
    own = model.state_dict()
    problems = []
    for word, keys in (
        ("missing", [key for key in own if key not in state]),
        ("unknown", [key for key in state if key not in own]),
        ("of another shape", [key for key in own if key in state and own[key].shape != state[key].shape]),
    ):
        if keys:
            problems.append(f"{len(keys)} {word}: {_first(keys)}")
    if problems:
        raise TokbenchError(f"{origin} does not fit {type(model).__name__}: {'; '.join(problems)}. Is it of another variant?")
    broken = [key for key, value in state.items() if value.is_floating_point() and not bool(torch.isfinite(value).all())]
    if broken:
        count = f"{len(broken)} tensors: {_first(broken)}"
        raise TokbenchError(f"{origin} holds NaN or infinity in {count}; the file is damaged or training diverged")
    model.load_state_dict({key: value.to(own[key].dtype) for key, value in state.items()}, strict=True)


def save_weights(state: Mapping[str, Tensor], path: Path, *, about: Mapping[str, object], dtype: torch.dtype | None = None) -> str:
    """Write tensors as safetensors, atomically.

    Args:
        state: Tensors by name.
        path: Where to; parents are made.
        about: Plain values kept as JSON in the file's header.
        dtype: Floating tensors are stored as this; None keeps them.

    Returns:
        SHA-256 of the file.
    """
    tensors = {key: (value.to(dtype) if dtype and value.is_floating_point() else value).contiguous().cpu() for key, value in state.items()}
    data = save(tensors, metadata={"tokbench": json.dumps(about, sort_keys=True)})
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return hashlib.sha256(data).hexdigest()


def sha256(path: Path) -> str:
    """Digest of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first(keys: list[str]) -> str:
    return ", ".join(sorted(keys)[:10]) + (", ..." if len(keys) > 10 else "")
