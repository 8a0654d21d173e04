"""Which files a place means, and what they hold: one file, shards with their index, or the folder of a library, a trainer or a pipeline.

    pipeline/                            what a user names
      vae/
        config.json                      a folder of save_pretrained
        diffusion_pytorch_model[.VARIANT].safetensors, or .bin, or in shards: ....safetensors.index[.VARIANT].json

One of several forms of the same weights is taken by rule. Full precision comes before a variant, and fp32, fp16, bf16 before other
variants. Safetensors come before .bin, one file before shards. No file's code is ever run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.json_files import read_json as read_any_json
from tokbench.weights.not_weights import MERGE, what_it_is
from tokbench.weights.torchfile.plain import read_plain_pickle
from tokbench.weights.torchfile.reader import read_torch_file
from tokbench.weights.torchfile.words import Unreadable, printable

Format = Literal["safetensors", "zip", "legacy", "npy", "json"]

CONFIG = "config.json"
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
"""How files of weights of libraries begin; accelerate uses the last two."""
PRECISIONS = ("fp32", "fp16", "bf16")
"""Variants in the order they are taken; any other comes after them, by name."""
SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
BESIDE_WEIGHTS = ("optimizer", "scheduler", "random_states", "training_args", "scaler", "rng_state", "sampler", "custom_checkpoint")
"""How files that trainers put beside weights begin."""

_SHARD = re.compile(r"-\d{5}-of-\d{5}")
_STEM = "|".join(STEMS)
_WHOLE = re.compile(rf"(?P<stem>{_STEM})(?:\.(?P<variant>[^.]+))?\.(?P<kind>safetensors|bin)")
_INDEX = re.compile(rf"(?P<stem>{_STEM})\.(?P<kind>safetensors|bin)\.index(?:\.(?P<variant>[^.]+))?\.json")
_IS_INDEX = re.compile(r".*\.index(\.[^.]+)?\.json")


@dataclass(frozen=True)
class Opened:
    """What files of weights hold, as they hold it.

    Args:
        content: A mapping, possibly of mappings; or a pickled module. Tensors of safetensors are without values until ``values``.
        format: Format of the files; ``zip`` and ``legacy`` are those of ``torch.save``.
        files: That were opened.
        note: Which of several forms in a folder was taken; empty if there was no choice.
        answers_averages: Whether the files were chosen for being averages, or for not being any.
        places: File of each tensor of safetensors and of each tensor in shards.
    """

    content: Any
    format: Format
    files: tuple[Path, ...]
    note: str = ""
    answers_averages: bool = False
    places: Mapping[str, Path] = field(default_factory=dict)

    def values(self, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Read the values of tensors.

        Args:
            wanted: Tensors of ``content``, by name in the file.
        """
        found = dict(wanted)
        lazy = [name for name, value in wanted.items() if value.is_meta and name in self.places]
        for path in dict.fromkeys(self.places[name] for name in lazy):
            with _safetensors(path) as file:
                for name in lazy:
                    if self.places[name] == path:
                        found[name] = file.get_tensor(name)
        return found


def open_weights(place: Path, *, averages: bool | None = None, bundles: tuple[str, ...] = ()) -> Opened:
    """Open the weights at a place.

    Args:
        place: A file of weights, an index of shards, or a folder.
        averages: Which form to take where a folder has averaged and raw weights in files of their own.
        bundles: Parts of names under which a larger network holds the wanted one; of shards only those with such names are opened.

    Raises:
        TokbenchError: If there are none, several without a rule to choose by, or they cannot be read safely.
    """
    path, note, answered = (place, "", False) if place.is_file() else _main_file(place, averages)
    opened = _open_shards(path, bundles) if _IS_INDEX.fullmatch(path.name) else open_file(path)
    return replace(opened, note=note, answers_averages=answered)


def model_folder(place: Path, wanted: Callable[[Mapping[str, Any]], bool]) -> Path:
    """Find the folder of a model of a library.

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
    _refuse_other_folders(place)
    inside = [folder for folder in _folders(place) if (folder / CONFIG).is_file() and wanted(read_json(folder / CONFIG))]
    if len(inside) == 1:
        return inside[0]
    if inside:
        raise TokbenchError(f"{place} holds several models, {', '.join(folder.name for folder in inside)}; give the folder of one of them")
    raise TokbenchError(f"{place} has no {CONFIG} of such a model, it holds {_held(place)}; give the folder that save_pretrained wrote")


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        TokbenchError: If it does not.
    """
    try:
        values = read_any_json(path)
    except (OSError, ValueError) as error:
        if path.is_file() and (words := what_it_is(path)) and "JSON" not in words:
            raise TokbenchError(f"{path} is not readable JSON: {words}") from error
        raise TokbenchError(f"{path} is not readable JSON ({error}); save the model again") from error
    if not isinstance(values, dict):
        raise TokbenchError(f"{path} holds a {type(values).__name__}, not an object of settings; save the model again")
    return values


def open_file(path: Path) -> Opened:
    """Open one file of weights.

    Args:
        path: The file.

    Raises:
        TokbenchError: If it is missing, no weights, or cannot be read safely.
    """
    if not path.is_file():
        raise TokbenchError(f"no weights file at {path}; give a .safetensors or .pt file")
    try:
        words = what_it_is(path)
    except OSError as error:
        raise TokbenchError(f"{path} cannot be read ({error.strerror or error}); give a .safetensors or .pt file") from error
    if words:
        raise TokbenchError(f"{path} holds no weights: {words}")
    if _is_safetensors(path):
        with _safetensors(path) as file:
            names = list(file.keys())
            tensors = {name: torch.empty(file.get_slice(name).get_shape(), device="meta") for name in names}
        return Opened(tensors, "safetensors", (path,), places=dict.fromkeys(names, path))
    try:
        content, kind = read_torch_file(path)
    except Exception as error:  # Unreadable; or what the system says of the file
        raise TokbenchError(
            f"{path} is not a readable PyTorch file of plain tensors ({_reason(error)}); convert it to safetensors"
        ) from error
    return Opened(content, kind, (path,))


def open_pickle(path: Path) -> object:
    """Read a pickle of Python itself, whose content is no weights.

    Args:
        path: The file.

    Raises:
        TokbenchError: If it cannot be read safely.
    """
    try:
        return read_plain_pickle(path)
    except Exception as error:  # Unreadable; or what the system says of the file
        raise TokbenchError(f"{path} is not a readable pickle of plain tensors ({_reason(error)})") from error


def _open_shards(index: Path, bundles: tuple[str, ...]) -> Opened:
    placed = read_json(index).get("weight_map")
    if not isinstance(placed, dict) or not placed or not all(isinstance(file, str) and _is_beside(file) for file in placed.values()):
        raise TokbenchError(f"{index} names no files beside it as weight_map; save the model again")
    content: dict[str, Any] = {}
    places: dict[str, Path] = {}
    parts = []
    inside = {file for name, file in placed.items() if not {*name.split(".")}.isdisjoint(bundles)}
    for name in sorted(inside or set(placed.values())):
        path = index.parent / name
        if not path.is_file():
            raise TokbenchError(f"{path} is not there, although the index beside it names it; fetch or save the model again")
        part = open_file(path)
        if not isinstance(part.content, Mapping):
            raise TokbenchError(f"{path} holds no plain mapping of names to tensors, as a shard does; save the model again")
        if twice := next((key for key in part.content if key in content), None):
            raise TokbenchError(f"{index} names two files that hold {printable(str(twice))}; save the model again")
        content |= part.content
        places |= dict.fromkeys(map(str, part.content), path)
        parts.append(part)
    return Opened(content, parts[0].format, tuple(path for part in parts for path in part.files), places=places)


def _is_beside(name: str) -> bool:
    return Path(name).name == name and name not in ("", ".", "..") and "\\" not in name


def _safetensors(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except Exception as error:  # whatever a damaged header leads to
        raise TokbenchError(
            f"{path} is not a readable safetensors file ({_reason(error)}); it may be truncated, or of another format"
        ) from error


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(9)
    size = int.from_bytes(head[:8], "little")
    return path.suffix == ".safetensors" or (head[8:] == b"{" and size < path.stat().st_size)


def _reason(error: Exception) -> str:
    reason = str(error) if isinstance(error, Unreadable | SafetensorError) else f"{type(error).__name__}: {error}"
    return reason.splitlines()[0][:240] if reason else type(error).__name__


@dataclass(frozen=True)
class _Form:
    """One form of a folder's weights; forms sort in the order they are taken."""

    path: Path
    variant: str
    order: tuple[object, ...]


def _main_file(folder: Path, averages: bool | None) -> tuple[Path, str, bool]:
    """The file or index of a folder, what to say of the choice, and whether it was one between averages and raw weights."""
    if not folder.is_dir():
        raise TokbenchError(f"no weights file at {folder}; give a .safetensors or .pt file")
    _refuse_other_folders(folder)
    forms = _forms(folder)
    if not forms:
        return _lone_file(folder, averages)
    roles = {form: _role(form, forms) for form in forms}
    kept = [form for form in forms if averages is None or roles[form] in (None, averages)]
    if not kept:
        which = "averages" if averages else "raw weights"
        raise TokbenchError(f"{folder} holds no {which}, only {', '.join(form.path.name for form in forms)}; leave --averages out")
    best = min((form for form in kept if averages is None or roles[form] is averages), default=min(kept, key=_order), key=_order)
    others = [form.path.name for form in sorted(forms, key=_order) if form != best]
    note = f"file {best.path.name}" + (f" before {', '.join(others[:4])}" if others else "")
    return best.path, note if others or best.variant else "", averages is not None and roles[best] is averages


def _order(form: _Form) -> tuple[Any, ...]:
    return form.order


def _role(form: _Form, forms: list[_Form]) -> bool | None:
    """Whether a form is of averages, as far as names of variants say it."""
    variants = {other.variant for other in forms}
    if form.variant in ("ema", "non_ema"):
        return form.variant == "ema"
    if form.variant:
        return None
    return True if "non_ema" in variants else False if "ema" in variants else None


def _forms(folder: Path) -> list[_Form]:
    found = []
    for path in folder.iterdir():
        single, index = _WHOLE.fullmatch(path.name), _INDEX.fullmatch(path.name)
        match = single or index
        if match is None or not path.is_file() or (single and _SHARD.search(match["variant"] or "")):
            continue
        variant = match["variant"] or ""
        rank = 0 if not variant else 1 + PRECISIONS.index(variant) if variant in PRECISIONS else 1 + len(PRECISIONS)
        order = (rank, variant, match["kind"] != "safetensors", single is None, STEMS.index(match["stem"]))
        found.append(_Form(path, variant, order))
    return found


def _lone_file(folder: Path, averages: bool | None) -> tuple[Path, str, bool]:
    """What a folder without a library's names means: the only file of weights, DeepSpeed's, or that of the autoencoder in a pipeline."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix in SUFFIXES]
    files = [path for path in files if not path.name.startswith(BESIDE_WEIGHTS) and "optim_states" not in path.name]
    shards = [path for path in files if _SHARD.search(path.name)]
    if shards:
        raise TokbenchError(f"{folder} holds shards such as {shards[0].name} without their index; copy the file .index.json too")
    if len(files) == 1:
        return files[0], "", False
    ranks = [path for path in files if path.name.startswith("mp_rank_")]
    if ranks and ranks == files:
        raise TokbenchError(
            f"{folder} holds a model that is split over {len(ranks)} processes; merge it with DeepSpeed, and give that file"
        )
    inside = [path for path in _folders(folder) if _forms(path) and _is_autoencoder(path)]
    inside = inside or [path for path in _folders(folder) if list(path.glob("mp_rank_*_model_states.pt"))]
    latest = folder / "latest"
    if len(inside) > 1 and latest.is_file():
        name = latest.read_text(encoding="utf-8", errors="replace").strip()
        inside = [path for path in inside if path.name == name] or inside
    if len(inside) == 1:
        return _main_file(inside[0], averages)
    if inside:
        raise TokbenchError(f"{folder} holds several models, {', '.join(path.name for path in inside)}; give the folder of one of them")
    if others := [
        path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix in (".msgpack", ".h5", ".onnx", ".pb", ".gguf")
    ]:
        raise TokbenchError(
            f"{folder} holds no weights of PyTorch: of {others[0].name}, {what_it_is(others[0]) or 'it is of another kind'}"
        )
    held = ", ".join(path.name for path in files) or _held(folder)
    raise TokbenchError(
        f"{folder} has none of {', '.join(f'{stem}.safetensors' for stem in STEMS)} and their like, it holds {held}; "
        "give the file of weights itself"
    )


def _is_autoencoder(folder: Path) -> bool:
    if not (folder / CONFIG).is_file():
        return False
    name = read_json(folder / CONFIG).get("_class_name")
    return isinstance(name, str) and name.startswith(("Autoencoder", "VQ", "Kandinsky6SRVAE"))


def _refuse_other_folders(folder: Path) -> None:
    """Name the folders that hold weights in a form that is not read here."""
    for place in (folder, *_folders(folder)):
        if any(place.glob("*.distcp")):
            raise TokbenchError(f"{place} is a sharded checkpoint of torch.distributed; {MERGE}")
    if any(folder.glob("zero_pp_rank_*_model_states.pt")) or any(folder.glob("*/zero_pp_rank_*_model_states.pt")):
        raise TokbenchError(
            f"{folder} is a checkpoint of DeepSpeed whose parameters are split (ZeRO 3); merge it with the zero_to_fp32.py that lies in it"
        )
    if (folder / "adapter_config.json").is_file() and not _forms(folder):
        raise TokbenchError(f"{folder} is an adapter of PEFT, which changes a model and is none; merge it into its model, and save that")


def _folders(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_dir()]


def _held(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
