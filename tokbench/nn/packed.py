"""Convolutions of frozen networks as oneDNN runs them fastest on a processor: weights laid out once, and ReLU in the same pass.

PyTorch lays weights out anew at each call. For fewer than 16 images it leaves 1x1 convolutions on one thread to another library, which is slower on
many processors (``use_mkldnn`` in aten/src/ATen/native/Convolution.cpp). The operators are those that its compiler makes
of such networks (torch/_inductor/mkldnn_lowerings.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn.utils import skip_init


def by_few(compute: Callable[[Tensor], Tensor], images: Float[Tensor, "b c h w"], *, count: int) -> Tensor:
    """Compute on few images at once where a processor does, so that their first feature maps stay near it.

    Args:
        compute: Maps ``[B, C, H, W]`` to ``[B, ...]``, and an image to the same with any others beside it.
        images: Any number of images.
        count: Images of one call.

    Returns:
        What ``compute`` makes of all.
    """
    if images.device.type != "cpu" or len(images) <= count:
        return compute(images)
    return torch.cat([compute(part) for part in images.split(count)])


def packed(model: nn.Module) -> nn.Module:
    """Replace convolutions of a frozen network, in place, where that makes it faster; its outputs stay the same.

    Nothing happens to networks on other devices or of other precisions, and where PyTorch lacks the operators. What remains cannot be trained
    or moved.

    Args:
        model: A network for evaluation alone, on its device. A ReLU that its parent holds right after a convolution must run on its output.
    """
    if available():
        _pack_children(model)
    return model


def _pack_children(model: nn.Module) -> None:
    children = list(model.named_children())
    for (name, first), (activation, second) in pairwise([*children, ("", nn.Identity())]):
        if isinstance(first, nn.Conv2d) and _fits(first):
            fused = isinstance(model, nn.Sequential) and type(second) is nn.ReLU
            setattr(model, name, PackedConv2d(first, relu=fused))
            if fused:
                setattr(model, activation, nn.Identity())
        else:
            _pack_children(first)


def _fits(conv: nn.Conv2d) -> bool:
    weight = conv.weight
    plain = conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
    return plain and type(conv) is nn.Conv2d and weight.device.type == "cpu" and weight.dtype == torch.float32


class PackedConv2d(nn.Module):
    """A convolution whose weights are laid out for the size of the first images it sees.

    Args:
        conv: What it computes.
        relu: Whether a ReLU follows.
    """

    bias: Tensor | None

    def __init__(self, conv: nn.Conv2d, *, relu: bool) -> None:
        super().__init__()
        self._weight: Tensor | None = conv.weight.detach()
        self._packed: Tensor | None = None
        self._lock = threading.Lock()
        self.register_buffer("bias", None if conv.bias is None else conv.bias.detach(), persistent=False)
        self._how: tuple[Any, ...] = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self._activation = "relu" if relu else "none"

    def forward(self, x: Float32[Tensor, "b c h w"]) -> Float32[Tensor, "b d h2 w2"]:
        """Convolve images, channels last in memory."""
        if self._packed is None:
            with self._lock:
                self._pack(tuple(x.shape))
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(x, self._packed, self.bias, *self._how, self._activation, [], None)
        return found

    def __getstate__(self) -> dict[str, Any]:
        """What copies and other processes are given: weights as they were, as those laid out cannot be sent.

        They are an array then: memory of a tensor that nothing else holds would be gone before a process that is spawned opens it.
        """
        with self._lock:
            weight = self._weight if self._packed is None else self._packed.to_dense().numpy()
        return {key: value for key, value in self.__dict__.items() if key != "_lock"} | {"_weight": weight, "_packed": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Lay weights out anew when the first images come."""
        weight = state["_weight"]
        self.__dict__.update(state, _weight=torch.from_numpy(weight) if isinstance(weight, np.ndarray) else weight, _lock=threading.Lock())

    def _pack(self, size: tuple[int, ...]) -> None:
        if self._weight is not None:  # another thread was not here first
            self._packed = _laid_out(self._weight, self._how, size)
            self._weight = None


def _laid_out(weight: Tensor, how: tuple[Any, ...], size: tuple[int, ...]) -> Tensor:
    reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
    found: Tensor = reorder(weight.to_mkldnn(), *how, list(size))
    return found


@cache
@torch.no_grad()
def available() -> bool:
    """Whether PyTorch has the operators, and they compute what they should: they are not part of what it promises to keep."""
    if not torch.backends.mkldnn.is_available():
        return False
    conv = skip_init(nn.Conv2d, 1, 1, 3, stride=2, padding=1)  # draws nothing
    nn.init.constant_(conv.weight, 0.5)
    nn.init.constant_(conv.bias, -3.0)
    image = torch.arange(25, dtype=torch.float32).reshape(1, 1, 5, 5)
    try:
        found = PackedConv2d(conv, relu=True)(image)
    except (RuntimeError, AttributeError, TypeError, NotImplementedError):
        return False
    return torch.allclose(found, conv(image).relu())
