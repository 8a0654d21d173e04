"""Tokenizers as graphs (``torch.export``, ``torch.compile``): what cannot be asked while one is traced, and what comes out of one."""

from __future__ import annotations

from typing import TypeVar

import torch

Kind = TypeVar("Kind", bound=type)


def traced() -> bool:
    """Whether a graph is being traced: then values cannot be read back, so nothing about them can be checked."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def graph_value(cls: Kind) -> Kind:
    """Let a dataclass come out of an exported graph, and go into one, as its fields."""
    torch.export.register_dataclass(cls)
    return cls
