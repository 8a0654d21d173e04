"""A tokenizer as a folder that needs nothing else: ``config.json`` and ``model.safetensors``; or as the one file training writes.

    config.json         {"tokbench": version, "tokenizer": "vqgan/tiny", "config": {...}, "trained_with": [...], "weights": {...}}
    model.safetensors   tensors by the model's own names; its header holds the same

``tokbench.load(PLACE)`` reads either, whatever became of the variant it was made from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tokbench
from tokbench.configs import flat
from tokbench.errors import TokbenchError
from tokbench.file_units import atomic_unit, is_draft, remove_abandoned_units
from tokbench.json_files import parse_json, read_json
from tokbench.records.earlier import upgraded

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CONFIG, WEIGHTS = "config.json", "model.safetensors"

TRAINED = "weights.safetensors"
"""What training writes into the folder of a run: its header says all that the tokenizer is."""


@dataclass(frozen=True)
class Saved:
    """What a saved tokenizer says of itself.

    Args:
        tokenizer: ``family/variant`` it was made from.
        settings: Every field of its configuration, by dotted name.
        trained_with: Networks and data its training used.
        weights: Where its weights file should be.
        normalisation: How diffusion models read its latents, as plain values, where that is not what its row says.
    """

    tokenizer: str
    settings: dict[str, Any]
    trained_with: tuple[str, ...]
    weights: Path
    normalisation: dict[str, Any] | None = None


def write_saved(folder: Path, state: Mapping[str, Tensor], about: Mapping[str, object], *, dtype: torch.dtype | None = None) -> None:
    """Write a tokenizer as a folder, or nothing.

    Args:
        folder: Made if missing; what it holds must not be another tokenizer.
        state: Tensors by the model's own names.
        about: What the folder says of them, as plain values: ``tokenizer``, ``config``, ``trained_with``, ``weights``, and ``normalisation``
            where settings said it.
        dtype: Floating tensors are stored as this; None keeps theirs.

    Raises:
        TokbenchError: If the folder is taken or cannot be written.
    """
    from tokbench.weights.checkpoints import save_weights

    remove_abandoned_units(folder)
    if folder.is_dir() and any(not is_draft(path.relative_to(folder)) for path in folder.iterdir()):
        raise TokbenchError(f"{folder} is not empty; choose a folder that is, or does not exist")
    about = {"tokbench": tokbench.__version__, **about}
    with atomic_unit(folder, [WEIGHTS, CONFIG]) as draft:
        save_weights(state, draft / WEIGHTS, about=about, dtype=dtype)
        (draft / CONFIG).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def find_saved(place: Path) -> Saved | None:
    """Look whether a place holds a tokenizer of this package, saved as a folder or by training.

    Args:
        place: A folder, that of a training run too, or a file.

    Returns:
        What it says of itself; None if it holds something else.

    Raises:
        TokbenchError: If it was saved by this package and cannot be read.
    """
    if place.is_dir() and (place / TRAINED).is_file() and not (place / CONFIG).is_file():
        about, weights = _read_header(place / TRAINED), place / TRAINED
    elif place.is_dir():
        about, weights = _read_config(place / CONFIG), place / WEIGHTS
    elif place.suffix == ".safetensors" and place.is_file():
        about, weights = _read_header(place), place
    else:
        return None
    if about is None:
        return None
    try:
        name, normalisation = str(about["tokenizer"]), about.get("normalisation")
        settings, used = flat(upgraded(name, dict(about["config"]))), tuple(map(str, about.get("trained_with", ())))
        return Saved(name, settings, used, weights, None if normalisation is None else dict(normalisation))
    except (KeyError, TypeError, ValueError) as error:
        raise TokbenchError(f"{place} names no tokenizer and configuration of tokbench ({error}); save it again") from error


def _read_config(path: Path) -> dict[str, Any] | None:
    try:
        values = read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise TokbenchError(f"{path} is not readable JSON ({error})") from error
    return values if isinstance(values, dict) and "tokbench" in values else None


def _read_header(path: Path) -> dict[str, Any] | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            values = parse_json((file.metadata() or {}).get("tokbench", "null"))
    except (SafetensorError, OSError, ValueError) as error:
        raise TokbenchError(f"{path} is not a readable safetensors file ({error}); it may be truncated") from error
    return values if isinstance(values, dict) and "tokenizer" in values else None
