"""Tokenizers that live outside this package, named as ``package.module:Class``."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import torch

from tokbench.conduct import Misbehaved, blamed
from tokbench.configs import canonical_json, with_overrides
from tokbench.errors import TokbenchError
from tokbench.escapes import visible
from tokbench.plugins import import_class

if TYPE_CHECKING:
    from tokbench.tokenizers.base import Tokenizer

NAME_LIMIT = 200
"""Characters of the name a class may give itself."""


def is_plugin(name: str) -> bool:
    """Whether a name is of the form ``package.module:Class``, and not that of a place."""
    return ":" in name and not name.startswith("hf:")


def plugin_class(reference: str) -> type[Tokenizer]:
    """Import the class of a tokenizer, and see that it is one.

    Args:
        reference: ``package.module:Class``.

    Raises:
        Misbehaved: If it cannot be imported, is no ``Tokenizer``, lacks a method, or its ``Config`` is no frozen dataclass.
    """
    from tokbench.tokenizers.base import Tokenizer

    with blamed(reference, "its import"):
        cls: Any = import_class(reference)
    if not (inspect.isclass(cls) and issubclass(cls, Tokenizer)):
        raise Misbehaved(f"{reference!r} is not a subclass of tokbench.tokenizers.Tokenizer; CONTRIBUTING.md shows one")
    config = getattr(cls, "Config", None)
    lacking = set(getattr(cls, "__abstractmethods__", ()))
    if cls.layout is Tokenizer.layout and not hasattr(config, "layout"):
        lacking.add("layout")
    if lacking:
        them = "it" if len(lacking) == 1 else "them"
        raise Misbehaved(f"{reference} lacks {' and '.join(sorted(lacking))}; write {them}, see CONTRIBUTING.md")
    if config is not None and not (inspect.isclass(config) and dataclasses.is_dataclass(config)):
        raise Misbehaved(f"Config of {reference} is no dataclass; write @dataclass(frozen=True) above it")
    if config is not None and not vars(config)["__dataclass_params__"].frozen:
        raise Misbehaved(f"Config of {reference} is not frozen; write @dataclass(frozen=True) above it")
    return cls


def build_plugin(reference: str, changes: dict[str, object], *, taken: Collection[str] = ()) -> Tokenizer:
    """Build a tokenizer from ``package.module:Class``, without weights.

    The class takes its configuration, a frozen dataclass it names as ``Config``, or nothing if it has none.

    Args:
        reference: ``package.module:Class``.
        changes: Fields of ``Config``, by dotted name.
        taken: Names of families, which it may not call itself.

    Raises:
        Misbehaved: If its code fails, or it breaks the contract of a tokenizer.
        TokbenchError: If a field is unknown or does not fit.
    """
    cls = plugin_class(reference)
    build: Any = cls
    config_class = getattr(cls, "Config", None)
    if config_class is None:
        if changes:
            raise TokbenchError(f"{reference!r} has no Config, so nothing can be set; given: {', '.join(changes)}")
        with blamed(reference, "__init__"):
            model = build()
    else:
        with blamed(reference, "Config()"):
            config = config_class()
        with blamed(reference, "Config", may_refuse=True):
            config = with_overrides(config, changes)
        with blamed(reference, "__init__"):
            model = build(config)
            kept = getattr(model, "config", None)
        if kept is None:
            raise Misbehaved(f"{reference} takes a Config and keeps none; write self.config = config, for records to say it")
    _check_config(getattr(model, "config", None), reference)
    with blamed(reference, "its name"):
        _name(model, reference, taken)
    return model


def settle(model: Tokenizer, reference: str, device: torch.device) -> Tokenizer:
    """Move a tokenizer to a device, in evaluation mode.

    Args:
        model: As built.
        reference: ``package.module:Class``.
        device: Where it shall run.

    Raises:
        Misbehaved: If its code fails, or returns something else.
    """
    with blamed(reference, f"moving to {device}"):
        moved = model.to(device).eval()
    if not isinstance(moved, type(model)):
        raise Misbehaved(f"{reference}: its .to(device).eval() returns a {type(moved).__name__}, not the tokenizer; return self")
    return moved


def _check_config(config: Any, reference: str) -> None:
    """See that records can hold a configuration."""
    if config is None:
        return
    if not (dataclasses.is_dataclass(config) and not isinstance(config, type)):
        raise Misbehaved(f"config of {reference} is a {type(config).__name__}, not a frozen dataclass; see CONTRIBUTING.md")
    try:
        canonical_json(config)
    except (TypeError, ValueError, RecursionError) as error:
        raise Misbehaved(
            f"config of {reference} holds what no record can hold ({error}); use numbers, text, tuples, dataclasses"
        ) from error


def _name(model: Tokenizer, reference: str, taken: Collection[str]) -> None:
    """Give a tokenizer its reference for a name, unless its class has chosen one that is fit to be printed and no other's."""
    own: Any = model.name
    if not own:
        model.name = reference
        return
    if not isinstance(own, str) or own != visible(own) or own != own.strip() or len(own) > NAME_LIMIT:
        shown = visible(repr(own))[:60]
        raise Misbehaved(f"{reference} calls itself {shown}; a name is printable text of at most {NAME_LIMIT} characters")
    if own.partition("/")[0] in (*taken, "anchor"):
        raise Misbehaved(f"{reference} calls itself {own!r}, a name of the zoo; choose another one")
