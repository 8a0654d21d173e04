"""A tokenizer as a folder that needs nothing else: ``config.json`` and ``model.safetensors``; or as the one file training writes.

    config.json         {"tokbench": version, "tokenizer": "vqgan/tiny", "config": {...}, "trained_with": [...], "weights": {...}}
    model.safetensors   tensors by the model's own names; its header holds the same

``tokbench.load(PLACE)`` reads either, whatever became of the variant it was made from.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tokbench
from tokbench.configs import flat, plain, with_overrides
from tokbench.errors import TokbenchError
from tokbench.files import atomic_unit, is_draft, remove_abandoned_units
from tokbench.json_files import parse_json, read_json
from tokbench.tokenizers.family import Variant
from tokbench.tokenizers.training import Training

if TYPE_CHECKING:
    import torch

    from tokbench.tokenizers.base import Tokenizer

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def save_tokenizer(tokenizer: Tokenizer, folder: str | Path, *, dtype: torch.dtype | None = None) -> Path:
    """Write a tokenizer as a folder that ``tokbench.load`` reads.

    Args:
        tokenizer: Of a family of the zoo.
        folder: Made if missing; what it holds must not be another tokenizer.
        dtype: Weights are stored as this; None keeps theirs.

    Returns:
        The folder.

    Raises:
        TokbenchError: If it is no tokenizer of the zoo, or the folder is taken or cannot be written.
    """
    from tokbench.tokenizers.checkpoints import save_weights
    from tokbench.tokenizers.zoo import families

    folder = Path(folder)
    if tokenizer.name.partition("/")[0] not in families():
        name = tokenizer.name or type(tokenizer).__name__
        raise TokbenchError(f"{name} is not of a family of the zoo, and only those can be found again by name; save its state_dict instead")
    remove_abandoned_units(folder)
    if folder.is_dir() and any(not is_draft(path.relative_to(folder)) for path in folder.iterdir()):
        raise TokbenchError(f"{folder} is not empty; choose a folder that is, or does not exist")
    about = {
        "tokbench": tokbench.__version__,
        "tokenizer": tokenizer.name,
        "config": plain(tokenizer.config),
        **Training(tuple(tokenizer.trained_with), tuple(tokenizer.training_sets)).header(),
        "weights": {"made_from_sha256": tokenizer.weights_sha256, "how": tokenizer.weights_how},
    }
    with atomic_unit(folder, [WEIGHTS, CONFIG]) as draft:
        save_weights(tokenizer.state_dict(), draft / WEIGHTS, about=about, dtype=dtype)
        (draft / CONFIG).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return folder


def find_saved(place: Path) -> tuple[str, Variant, Path] | None:
    """Look whether a place holds a tokenizer of this package, saved as a folder or by training.

    Args:
        place: A folder or file.

    Returns:
        Family, a row for it and its weights file; None if it holds something else.

    Raises:
        TokbenchError: If it was saved by this package and cannot be read.
    """
    if place.is_dir():
        about, weights = _read_config(place / CONFIG), place / WEIGHTS
    elif place.suffix == ".safetensors" and place.is_file():
        about, weights = _read_header(place), place
    else:
        return None
    if about is None:
        return None
    from tokbench.tokenizers.zoo import resolve

    try:
        name, config, used = str(about["tokenizer"]), dict(about["config"]), tuple(map(str, about.get("trained_with", ())))
    except (KeyError, TypeError, ValueError) as error:
        raise TokbenchError(f"{place} names no tokenizer and configuration of tokbench ({error}); save it again") from error
    family, row = resolve(name)
    own = with_overrides(row.config, flat(config))
    if not weights.is_file():
        raise TokbenchError(f"{place} holds {CONFIG} without {WEIGHTS}; copy both")
    return family.name, replace(row, config=own, trained_with=used or row.trained_with), weights


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
