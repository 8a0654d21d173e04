"""Who a tokenizer is when something is measured: its tensors, configuration, quantizers and source as they are then, not as they were loaded."""

from __future__ import annotations

import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tokbench.conduct import blamed, name_of
from tokbench.configs import flat, plain
from tokbench.data.open import PHOTO_SPECS
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.quantizers.base import Quantizer
from tokbench.shapes import shapes_only
from tokbench.tokenizers.base import Tokenizer
from tokbench.weights.digest import tensors_digest
from tokbench.weights.training import Training

CHANGED, QUANTIZERS = "changed", "quantizers"
"""Where a recorded configuration says which modules are not those it stands for, and which quantizers a plug-in has."""

KEPT = "kept_length"
"""Where it says how many of a sequence's first positions were kept, if not all."""

TILING = "tiling"
"""Where it says how images were cut, if they were not left whole."""


@dataclass(frozen=True)
class Identity:
    """A tokenizer as it is.

    Args:
        name: ``family/variant``, or what a plug-in is called.
        config: Its whole configuration as plain values; under ``changed`` what its modules are where they are not as configured.
        weights_sha256: Digest of the file its weights were loaded from, if any.
        state_sha256: ``weights_digest`` of it; None if it has no tensors.
        source_sha256: Digest of the source of a plug-in; None for the package's own classes, or if there is no source.
        package: Name and version of the package that a plug-in comes from, if it was installed.
        settings: What is set otherwise than by default, by dotted name; ``weights`` if they are not the default's.
    """

    name: str
    config: dict[str, Any]
    weights_sha256: str | None
    state_sha256: str | None
    source_sha256: str | None = None
    package: str | None = None
    settings: dict[str, str] = field(default_factory=dict)


def identity_of(tokenizer: Tokenizer) -> Identity:
    """Take a tokenizer's identity as it is now.

    Raises:
        Misbehaved: If it is a plug-in whose configuration no record can hold, or whose code fails.
    """
    name = name_of(tokenizer)
    with blamed(name, "its configuration and weights"):
        config = config_of(tokenizer)
        digest = weights_digest(tokenizer)
        settings = _settings(tokenizer, config, digest)
    return Identity(name, config, tokenizer.weights_sha256, digest, source_digest(tokenizer), package_of(tokenizer), settings)


def weights_digest(model: nn.Module) -> str | None:
    """Digest the tensors of a model as they are: SHA-256 over name, dtype, shape and bytes of every parameter and buffer.

    Names are sorted; tensors that are shared count under each of their names, and buffers that are not saved count too. It depends neither
    on the device nor on memory layout; moving to half precision, or changing one value, changes it. See ``tensors_digest``.

    Args:
        model: Any module.

    Returns:
        Hex digits; None if it has no tensors.
    """
    tensors = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers(remove_duplicate=False))}
    return tensors_digest(tensors) if tensors else None


def config_of(tokenizer: Tokenizer) -> dict[str, Any]:
    """A tokenizer's configuration as plain values, corrected by what its modules are.

    Positions kept, if not all, stand under ``kept_length``, and how images are cut into tiles, if they are, under ``tiling``.

    Modules that its class builds otherwise for this configuration stand under ``changed``, by their path: class, and for quantizers all
    settings. A plug-in is not built again to compare, which might read gigabytes; all its quantizers stand under ``quantizers``.
    """
    own: Any = getattr(tokenizer, "config", None)  # a class that has nothing to set has none
    config = {} if own is None else plain(own)
    config = config if isinstance(config, dict) else {"config": config}
    if tokenizer.kept_length is not None:
        config |= {KEPT: tokenizer.kept_length}
    if tokenizer.tiling is not None:
        config |= {TILING: plain(tokenizer.tiling)}
    here = _modules(tokenizer)
    if type(tokenizer).__module__.partition(".")[0] != "tokbench":
        found, key = {path: what for path, what in here.items() if what.keys() != {"class"}}, QUANTIZERS
    else:
        found, key = _changed(tokenizer, here), CHANGED
    return config | ({key: found} if found else {})


def training_of_tokenizer(tokenizer: Tokenizer) -> Training:
    """What is known of a tokenizer's training."""
    return Training(tuple(map(str, tokenizer.trained_with)), tuple(tokenizer.training_sets))


def trained_on(training: Training, source: ImageSource, digests: Iterable[bytes]) -> bool | None:
    """Whether a tokenizer was trained on images that are looked at.

    Args:
        training: What is known of its training.
        source: Where the images are from.
        digests: SHA-256 of what each of them was made from.

    Returns:
        Yes, no, or None if that is not known.
    """
    return training.includes(source.name, digests, by_name=source.name in PHOTO_SPECS)


def number_formats(tokenizer: Tokenizer) -> str:
    """The types of its floating-point tensors, the most frequent first; empty if it has none."""
    sizes: dict[torch.dtype, int] = {}
    for tensor in (*tokenizer.parameters(), *tokenizer.buffers()):
        if tensor.is_floating_point():
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.numel()
    return ", ".join(str(kind).removeprefix("torch.") for kind in sorted(sizes, key=lambda kind: -sizes[kind]))


def source_digest(tokenizer: Tokenizer) -> str | None:
    """Digest the source of a plug-in: SHA-256 over names and files of the modules of its class, its bases, and its own quantizers.

    Modules of this package and of libraries do not count, but for those of the package the class itself is of. A class without a
    file, as one typed into a notebook, counts by its text.

    Args:
        tokenizer: Any tokenizer.

    Returns:
        Hex digits; None for the package's own classes, or where there is neither file nor text.
    """
    cls = type(tokenizer)
    parts = {path: type(module) for path, module in tokenizer.named_modules() if path and _is_quantizer(module)}
    modules = {base.__module__ for kind in (cls, *parts.values()) for base in kind.__mro__}
    found: dict[str, bytes] = {}
    for name in sorted(modules):
        if _is_library(name) and name.partition(".")[0] != cls.__module__.partition(".")[0]:
            continue
        if name.partition(".")[0] == "tokbench":
            continue
        content = _source(name, cls)
        if content is not None:
            found[name] = content
    if not found:
        return None
    total = hashlib.sha256()
    for name, content in found.items():
        total.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return total.hexdigest()


def package_of(tokenizer: Tokenizer) -> str | None:
    """Name and version of the installed package a plug-in comes from; None if it comes from no other package than this."""
    top = type(tokenizer).__module__.partition(".")[0]
    if top == "tokbench" or not _is_installed(type(tokenizer).__module__):
        return None
    found = packages_distributions().get(top)
    return f"{found[0]} {version(found[0])}" if found else None


def _is_quantizer(module: nn.Module) -> bool:
    """A quantizer by class, or by what it can do."""
    return isinstance(module, Quantizer) or all(callable(getattr(module, name, None)) for name in ("codes", "lookup"))


def _described(module: nn.Module, *, whole: bool) -> dict[str, Any]:
    cls = type(module)
    name = cls.__qualname__ if cls.__module__.partition(".")[0] in ("tokbench", "torch") else f"{cls.__module__}.{cls.__qualname__}"
    settings = {key: plain(value) for key, value in sorted(vars(module).items()) if not key.startswith("_") and _is_plain(value)}
    settings.pop("training", None)
    return {"class": name} | (settings if whole else {})


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _modules(tokenizer: nn.Module) -> dict[str, dict[str, Any]]:
    """Every module within by its path; of quantizers only the outermost."""
    found: dict[str, dict[str, Any]] = {}
    quantizers: list[str] = []
    for path, module in tokenizer.named_modules():
        if not path or any(path.startswith(f"{outer}.") for outer in quantizers):
            continue
        if _is_quantizer(module):
            quantizers.append(path)
        found[path] = _described(module, whole=_is_quantizer(module))
    return found


def _changed(tokenizer: Tokenizer, here: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The outermost modules that the class builds otherwise, and those that are gone."""
    if not here:
        return {}
    cls: Any = type(tokenizer)
    with shapes_only():
        there = _modules(cls(tokenizer.config))
    other: dict[str, Any] = {path: what for path, what in here.items() if there.get(path) != what}
    other |= {path: {"class": "removed"} for path in there if path not in here}
    return {path: what for path, what in other.items() if not any(path.startswith(f"{outer}.") for outer in other)}


def _settings(tokenizer: Tokenizer, config: dict[str, Any], digest: str | None) -> dict[str, str]:
    """What a name alone does not say, in the order of the configuration."""
    own = flat({key: value for key, value in config.items() if key not in (CHANGED, QUANTIZERS)})
    base = flat(_default_config(tokenizer))
    changed = {key: str(value) for key, value in own.items() if key not in base or base[key] != value}
    changed |= {path: str(what["class"]) for path, what in config.get(CHANGED, {}).items()}
    if digest is not None and not tokenizer.own_weights:
        changed["weights"] = digest[:8]
    return changed


def _default_config(tokenizer: Tokenizer) -> dict[str, Any]:
    """The configuration that a tokenizer's name stands for; empty if it stands for none."""
    from tokbench.tokenizers.zoo import resolve

    try:
        config = resolve(name_of(tokenizer))[1].config
    except TokbenchError:
        default = getattr(type(tokenizer), "Config", None)
        if default is None:
            return {}
        config = default()
    return dict(plain(config))


def _is_library(module: str) -> bool:
    top = module.partition(".")[0]
    return top in ("torch", "builtins") or top in sys.stdlib_module_names or _is_installed(module)


def _is_installed(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    roots = {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}
    return file is not None and any(Path(file).is_relative_to(root) for root in roots)


def _source(module: str, cls: type) -> bytes | None:
    file = getattr(sys.modules.get(module), "__file__", None)
    try:
        if file is not None:
            return Path(file).read_bytes()
        return inspect.getsource(cls).encode() if module == cls.__module__ else None
    except (OSError, TypeError):
        return None
