"""Models as libraries save them: a folder of ``config.json`` and weights, in one file or in shards, perhaps within a pipeline's folder.

    pipeline/                           what a user names
      vae/
        config.json                     the folder of the model
        diffusion_pytorch_model.safetensors, or ....safetensors.index.json and the shards it names

Tensors are read by ``tokbench.tokenizers.checkpoints``, never by the library, so that nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.tokenizers.checkpoints import Checkpoint, read_checkpoint, sha256
from tokbench.tokenizers.unwrap import Unwrapped

CONFIG = "config.json"
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
ENDINGS = (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".fp16.safetensors", ".fp16.bin")
"""How files of weights begin and end; full precision before half."""


def model_folder(place: Path, wanted: Callable[[Mapping[str, Any]], bool]) -> Path:
    """Find the folder of a model.

    Args:
        place: It, a folder around it, or a file in it.
        wanted: Says of a ``config.json`` whether it is of a model that will do; asked of the folders within ``place``.

    Raises:
        TokbenchError: If there is none, or more than one.
    """
    if place.is_file():
        return place.parent
    if not place.is_dir():
        raise TokbenchError(f"no weights at {place}; give a folder that save_pretrained wrote, or a .safetensors file")
    if (place / CONFIG).is_file():
        return place
    inside = [folder for folder in sorted(place.iterdir()) if (folder / CONFIG).is_file() and wanted(read_json(folder / CONFIG))]
    if len(inside) == 1:
        return inside[0]
    if inside:
        raise TokbenchError(f"{place} holds several models, {', '.join(folder.name for folder in inside)}; give the folder of one of them")
    held = ", ".join(sorted(path.name for path in place.iterdir())[:5]) or "nothing"
    raise TokbenchError(f"{place} has no {CONFIG} of such a model, it holds {held}; give the folder that save_pretrained wrote")


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        TokbenchError: If it does not.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TokbenchError(f"{path} is not readable JSON ({error}); save the model again") from error
    if not isinstance(values, dict):
        raise TokbenchError(f"{path} holds a {type(values).__name__}, not an object of settings; save the model again")
    return values


def tensor_names(place: Path, prefixes: Sequence[str] = ()) -> set[str]:
    """Names of a model's tensors; of safetensors only the headers are read.

    Args:
        place: Folder of the model, or a file of weights.
        prefixes: As for ``read_tensors``.

    Raises:
        TokbenchError: If the weights cannot be found or read.
    """
    names = [name for path, listed in _weight_files(place).items() for name in (_names(path) if listed is None else listed)]
    prefix = _prefix(names, prefixes)
    return {name.removeprefix(prefix) for name in names if name.startswith(prefix)}


def read_tensors(place: Path, prefixes: Sequence[str] = ()) -> Checkpoint:
    """Read a model's tensors.

    Args:
        place: Folder of the model, or a file of weights.
        prefixes: If names begin with one of these, only those are read, and without it: the model is part of a larger one.

    Returns:
        Tensors by the library's names. The digest of several files is that of the lines ``sha256sum`` prints for them.

    Raises:
        TokbenchError: If the weights cannot be found or read.
    """
    files = _weight_files(place)
    listed = [name for names in files.values() for name in names or ()]
    if not listed:
        return _read(next(iter(files)), prefixes)
    prefix = _prefix(listed, prefixes)
    paths = [path for path, names in files.items() if any(name.startswith(prefix) for name in names or ())]
    parts = [_read(path, (prefix,) if prefix else ()) for path in paths]
    tensors = {name: value for part in parts for name, value in part.tensors.items()}
    lines = "".join(f"{part.sha256}  {path.name}\n" for path, part in zip(paths, parts, strict=True))
    dropped: Counter[str] = Counter()
    for part in parts:
        dropped.update(dict(part.found.dropped))
    found = Unwrapped(tensors, prefixes=parts[0].found.prefixes, dropped=tuple(dropped.items()))
    return Checkpoint(found, hashlib.sha256(lines.encode()).hexdigest(), parts[0].format)


def _weight_files(place: Path) -> dict[Path, list[str] | None]:
    """Files, and the names of their tensors where an index lists them."""
    path = place if place.is_file() else _main_file(place)
    if not path.name.endswith(".index.json"):
        return {path: None}
    shards: dict[Path, list[str] | None] = {}
    placed = read_json(path).get("weight_map")
    if not isinstance(placed, dict) or not placed or not all(isinstance(file, str) and Path(file).name == file for file in placed.values()):
        raise TokbenchError(f"{path} names no files beside it as weight_map; save the model again")
    for file in sorted(set(placed.values())):
        shards[path.parent / file] = [name for name, own in placed.items() if own == file]
    return shards


def _main_file(folder: Path) -> Path:
    names = [stem + ending for ending in ENDINGS for stem in STEMS]
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        others = sorted(folder.glob("*.safetensors"))
        if len(others) != 1:
            held = ", ".join(file.name for file in others) or "no .safetensors file"
            raise TokbenchError(
                f"{folder} has none of {', '.join(names[:3])} and their like, it holds {held}; give the file of weights itself"
            )
        path = others[0]
    return path


def _names(path: Path) -> list[str]:
    if path.suffix != ".safetensors":
        return list(read_checkpoint(path).tensors)
    try:
        with safe_open(path, framework="pt") as file:
            return list(file.keys())
    except SafetensorError as error:
        raise TokbenchError(f"{path} is not a readable safetensors file ({error}); it may be truncated") from error


def _prefix(names: Sequence[str], prefixes: Sequence[str]) -> str:
    return next((prefix for prefix in prefixes if any(name.startswith(prefix) for name in names)), "")


def _read(path: Path, prefixes: Sequence[str]) -> Checkpoint:
    if not path.is_file():
        raise TokbenchError(f"{path} is not there, although the index beside it names it; fetch or save the model again")
    if prefixes and path.suffix == ".safetensors":
        names = _names(path)
        prefix = _prefix(names, prefixes)
        if prefix:
            with safe_open(path, framework="pt") as file:  # the rest of a language model would fill the memory
                own = {name.removeprefix(prefix): file.get_tensor(name) for name in names if name.startswith(prefix)}
            return Checkpoint(_part(own, prefix, len(names)), sha256(path), "safetensors")
    whole = read_checkpoint(path)
    prefix = _prefix(list(whole.tensors), prefixes)
    if not prefix:
        return whole
    own = {name.removeprefix(prefix): value for name, value in whole.tensors.items() if name.startswith(prefix)}
    return replace(whole, found=_part(own, prefix, len(whole.tensors)))


def _part(own: dict[str, Tensor], prefix: str, count: int) -> Unwrapped:
    dropped = ((f"outside {prefix}", count - len(own)),) if count > len(own) else ()
    return Unwrapped(own, prefixes=(prefix,), dropped=dropped)
