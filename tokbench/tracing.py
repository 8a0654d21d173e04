"""Tokenizers as graphs (``torch.export``, ``torch.compile``): what cannot be asked while one is traced, and what comes out of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual

Kind = TypeVar("Kind", bound=type)

_dispatch_modes: Callable[[], int] = getattr(torch._C, "_len_torch_dispatch_stack", int)
_transforms: Callable[[], object] = getattr(getattr(torch._C, "_functorch", None), "peek_interpreter_stack", int)


def traced() -> bool:
    """Whether a graph is being traced: then values cannot be read back, so nothing about them can be checked."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def plainly_computed(*tensors: Tensor) -> bool:
    """Whether operators run on these tensors as they stand, so that it is all one which of them compute a product.

    What else there is knows the usual operators alone. That is transforms of functions (``torch.func``), forward differentiation, and modes that
    count operators or pretend to run them. So it is with classes derived from tensors, such as quantized weights.
    """
    if traced() or not all(type(one) is Tensor or type(one) is nn.Parameter for one in tensors):
        return False
    return not (_dispatch_modes() or _transforms() or any(unpack_dual(one).tangent is not None for one in tensors))


def graph_value(cls: Kind) -> Kind:
    """Let a dataclass come out of an exported graph, and go into one, as its fields."""
    torch.export.register_dataclass(cls)
    return cls
