"""Weight files: safe to open, loaded strictly, digested."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from tokbench.errors import TokbenchError
from tokbench.files import write_bytes
from tokbench.tokenizers.family import Family
from tokbench.tokenizers.library.config import LibraryConfig
from tokbench.tokenizers.torchfile.reader import read_torch_file
from tokbench.tokenizers.torchfile.tensors import detach
from tokbench.tokenizers.torchfile.words import Unreadable, printable
from tokbench.tokenizers.unwrap import LEFTOVERS, PREFIXES, WRAPPERS, Unwrapped, find_entry, unwrap

logger = logging.getLogger(__name__)

Format = Literal["safetensors", "zip", "legacy", "npy", "json"]


@dataclass(frozen=True)
class Checkpoint:
    """What was read from a weights file.

    Args:
        found: The tensors, and which entry and names they had.
        sha256: Digest of the file.
        format: Of the file; ``zip`` and ``legacy`` are those of ``torch.save``.
    """

    found: Unwrapped
    sha256: str
    format: Format

    @property
    def tensors(self) -> dict[str, Tensor]:
        """By name."""
        return self.found.tensors

    @property
    def how(self) -> str:
        """Format, entry, prefixes and what was left out, in words."""
        return f"{self.format}, {self.found.how}"

    def renamed(self, rename: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Checkpoint:
        """The same with other names, or other shapes, of its tensors."""
        return replace(self, found=replace(self.found, tensors=rename(self.tensors)))


def read_checkpoint(
    path: Path,
    *,
    prefer: Sequence[str] = (),
    prefixes: Sequence[str] = PREFIXES,
    wrappers: Sequence[str] = WRAPPERS,
    drop: Sequence[str] = LEFTOVERS,
    lit_ema: bool = False,
) -> Checkpoint:
    """Read the tensors of one model from a published checkpoint, or from a file of ``save_weights``, whose names are left alone.

    No code of the file is run, whatever its format. Files of ``torch.save`` go through ``torchfile``, not through
    ``torch.load(weights_only=True)``: that refuses a whole checkpoint for one class beside the weights (Lightning's callbacks,
    ``argparse.Namespace``), hands arguments of the file to functions of torch, and allocates what the file claims to need.
    ``torchfile`` calls nothing but functions written for it, and checks claims and checksums before it makes a tensor.

    Args:
        path: The file.
        prefer: Entries to look into first, such as ``("ema", "model")``.
        prefixes: As for ``unwrap``.
        wrappers: As for ``unwrap``.
        drop: Beginnings of names that are no part of the model.
        lit_ema: Whether to take latent diffusion's averages where there are some.

    Returns:
        Tensors in memory of their own, and how they were found.

    Raises:
        TokbenchError: If the file is missing, cannot be read safely, or holds no mapping of names to tensors.
    """
    content, kind, own_names = _open(path)
    if own_names:
        return _checkpoint(path, find_entry(content, origin=str(path)), kind)
    found = unwrap(content, origin=str(path), prefer=prefer, prefixes=prefixes, wrappers=wrappers, drop=drop, lit_ema=lit_ema)
    return _checkpoint(path, found, kind)


def read_state(path: Path, *, entry: str = "state_dict") -> tuple[dict[str, Tensor], str]:
    """Read tensors by the names they have in the file; ``read_checkpoint`` without its rules for names.

    Args:
        path: The file.
        entry: Where the tensors are, if the file holds more than them; other usual places are tried after it.

    Returns:
        Tensors by name, and the file's SHA-256.

    Raises:
        TokbenchError: If the file is missing or cannot be read safely.
    """
    content, kind, _ = _open(path)
    checkpoint = _checkpoint(path, find_entry(content, origin=str(path), prefer=(entry,)), kind)
    return checkpoint.tensors, checkpoint.sha256


class DoesNotFit(TokbenchError):
    """Tensors that are not those of a model, by name or shape."""


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


def nearest_variants(state: Mapping[str, Tensor], families: Iterable[Family]) -> list[tuple[str, float]]:
    """Find the variants whose tensors are most like these, by name and shape.

    Args:
        state: Tensors by the names of a model, after a family's own renaming.
        families: Whose variants to try. A variant that cannot be built without memory is passed over.

    Returns:
        ``family/variant`` and the share of all names, of the state and the variant, that agree in name and shape; best first, those
        above one half.
    """
    from tokbench.plugins import import_class

    shapes = {key: value.shape for key, value in state.items()}
    found = []
    for family in families:
        for variant in family.variants:
            if isinstance(variant.config, LibraryConfig):
                continue  # nobody else has its names, and its library takes seconds to import
            try:
                with torch.device("meta"):
                    own = {key: value.shape for key, value in import_class(family.model)(variant.config).state_dict().items()}
            except Exception as error:  # other packages' models may fail in any way; this is but help with an error
                logger.debug("%s/%s is not compared: %s", family.name, variant.name, error)
                continue
            agreeing = sum(own.get(key) == shape for key, shape in shapes.items())
            found.append((f"{family.name}/{variant.name}", agreeing / max(1, len(own.keys() | shapes.keys()))))
    return sorted(((name, share) for name, share in found if share > 0.5), key=lambda row: (-row[1], row[0]))


def looks_like(state: Mapping[str, Tensor], families: Iterable[Family]) -> str:
    """Say which variants tensors look like.

    Args:
        state: Tensors by the names of a model.
        families: Whose variants to try.

    Returns:
        A sentence; empty if there is no likeness.
    """
    near = nearest_variants(state, families)
    if not near:
        return ""
    best = [name for name, share in near if share == near[0][1]][:3]
    share = near[0][1]
    return f"It looks like {' or '.join(best)}" + ("." if share == 1 else f", where {share:.0%} of names and shapes agree.")


def _open(path: Path) -> tuple[Any, Format, bool]:
    """Content, format, and whether the names are a model's own, as ``save_weights`` writes them."""
    if not path.is_file():
        raise TokbenchError(f"no weights file at {path}; give a .safetensors or .pt file")
    if _is_safetensors(path):
        try:
            with safe_open(path, framework="pt") as file:
                state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a mapping
                return state, "safetensors", "tokbench" in (file.metadata() or {})
        except Exception as error:  # whatever a damaged header leads to
            reason = _reason(error)
            raise TokbenchError(
                f"{path} is not a readable safetensors file ({reason}); it may be truncated, or of another format"
            ) from error
    try:
        content, kind = read_torch_file(path)
        return content, kind, False
    except Exception as error:  # Unreadable; or what the system says of the file
        raise TokbenchError(
            f"{path} is not a readable PyTorch file of plain tensors ({_reason(error)}); convert it to safetensors"
        ) from error


def _checkpoint(path: Path, found: Unwrapped, kind: Format) -> Checkpoint:
    if kind == "zip":
        found = replace(found, tensors=detach(found.tensors))
    checkpoint = Checkpoint(found, sha256(path), kind)
    logger.info("read %s: %s", path.name, checkpoint.how)
    return checkpoint


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(9)
    size = int.from_bytes(head[:8], "little")
    return path.suffix == ".safetensors" or (head[8:] == b"{" and size < path.stat().st_size)


def _reason(error: Exception) -> str:
    reason = str(error) if isinstance(error, Unreadable | SafetensorError) else f"{type(error).__name__}: {error}"
    return reason.splitlines()[0][:240] if reason else type(error).__name__


def _all_finite(value: Tensor) -> bool:
    return bool(torch.isfinite(value.float() if value.element_size() == 1 else value).all())  # torch has no isfinite of 8 bits


def _first(keys: list[str]) -> str:
    return ", ".join(map(printable, sorted(keys)[:10])) + (", ..." if len(keys) > 10 else "")
