"""Networks without memory, of which only names, shapes and classes are asked, or that get their weights afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

DRAWN = frozenset({"normal_", "uniform_", "random_", "exponential_", "bernoulli_"})
"""Methods of a tensor that draw its values."""


class _Undrawn(TorchFunctionMode):
    """Leaves out what gives weights their first values, which there are none of: on the meta device PyTorch imports its compiler for it."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in DRAWN or (getattr(func, "__module__", "") == "torch.nn.init" and name.endswith("_")):
            tensor = args[0] if args else kwargs.get("tensor")
            if isinstance(tensor, Tensor) and tensor.is_meta:
                return tensor
        return func(*args, **kwargs)


@contextmanager
def shapes_only() -> Iterator[None]:
    """Build modules on the meta device: their parameters have shapes, and neither memory nor values."""
    with torch.device("meta"), _Undrawn():
        yield
