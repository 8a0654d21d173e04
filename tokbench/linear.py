"""Linear layers, on processors of AMD by the library that multiplies faster there.

PyTorch multiplies single precision by MKL, which leaves the widest vectors of AMD's processors unused. Its 1x1 convolutions may be oneDNN's, which
uses them: of many rows they take less time, forwards and backwards. A dilation of two changes nothing of 1x1 convolutions. It keeps the way
back of few images from MKL too (``use_mkldnn`` in aten/src/ATen/native/Convolution.cpp).

A convolution lays its weights out anew at each call, which takes long beside a product of few rows. The linear layer of oneDNN takes
weights as they lie; it has no gradients.
"""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from tokbench.tracing import plainly_computed, traced

PRODUCTS = 4_000_000
"""Multiplications from which on oneDNN is faster."""

ROWS, TRAINED_ROWS = 64, 256
"""Rows from which on it makes up for laying out the weights: forwards, and where gradients are wanted."""

MANY_ROWS = 1024
"""Rows from which on a convolution is as fast as oneDNN's linear layer."""


class Linear(nn.Linear):
    """A linear layer in every respect; only what multiplies differs, and so rounding."""

    def forward(self, x: Float[Tensor, "... c"]) -> Float[Tensor, "... d"]:
        """Multiply and add."""
        return linear(x, self.weight, self.bias)


def multiplying(network: nn.Module) -> nn.Module:
    """Give the linear layers of a library's network this class, in place: they keep their weights, names and hooks.

    Args:
        network: Layers of classes derived from PyTorch's stay as they are.
    """
    for layer in network.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = Linear
    return network


def linear(x: Float[Tensor, "... c"], weight: Float[Tensor, "d c"], bias: Float[Tensor, " d"] | None = None) -> Float[Tensor, "... d"]:
    """What ``torch.nn.functional.linear`` computes, but for rounding.

    Args:
        x: Rows.
        weight: A row for each output.
        bias: What is added.
    """
    if not _otherwise(x, weight):
        return F.linear(x, weight, bias)
    if x.numel() < x.shape[-1] * MANY_ROWS and not _trained(x, weight, bias) and takes_weights_as_they_lie():
        return _as_they_lie(x, weight, bias)
    rows = x.contiguous().view(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)  # channels last, as they lie
    found = torch.mkldnn_convolution(rows, weight[:, :, None, None], bias, (0, 0), (1, 1), (2, 2), 1)
    return found.permute(0, 2, 3, 1).contiguous().view(*x.shape[:-1], len(weight))


def gelu_of(layer: nn.Module, gelu: nn.Module, x: Float[Tensor, "... c"]) -> Float[Tensor, "... d"]:
    """GELU of what a layer makes of rows. Products of oneDNN take it along, where no gradients are wanted.

    Args:
        layer: A linear layer, or whatever has been put in its place.
        gelu: GELU in its form of tanh, or whatever has been put in its place.
        x: Rows.
    """
    usual = type(gelu) is nn.GELU and gelu.approximate == "tanh"
    if type(layer) is Linear and usual and not (_hooked(layer) or _hooked(gelu)):
        weight, bias = layer.weight, layer.bias
        if _otherwise(x, weight) and not _trained(x, weight, bias) and takes_weights_as_they_lie():
            return _as_they_lie(x, weight, bias, then="gelu", form="tanh")
    found: Tensor = gelu(layer(x))
    return found


def _as_they_lie(x: Tensor, weight: Tensor, bias: Tensor | None, *, then: str = "none", form: str = "") -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, then, [], form)
    return found


def _hooked(layer: nn.Module) -> bool:
    return bool(layer._forward_hooks or layer._forward_pre_hooks or _has_any_global_hook())


def _otherwise(x: Tensor, weight: Tensor) -> bool:
    return not traced() and _gains(x, weight) and plainly_computed(x, weight)


def _gains(x: Tensor, weight: Tensor) -> bool:
    many = x.numel() >= x.shape[-1] * (TRAINED_ROWS if _trained(x, weight) else ROWS) and x.numel() * len(weight) >= PRODUCTS
    single = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and x.shape[-1] == weight.shape[1]
    return many and single and multiplies_slowly() and not torch.is_autocast_enabled("cpu")


def _trained(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in tensors)


@cache
def multiplies_slowly() -> bool:
    """Whether PyTorch multiplies by MKL on a processor of AMD that has AVX-512, and oneDNN is there."""
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    both = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available() and hasattr(torch, "mkldnn_convolution")
    return wide and both and "AuthenticAMD" in _vendor()


@cache
@torch.no_grad()
def takes_weights_as_they_lie() -> bool:
    """Whether oneDNN's linear layer computes what it should: it is not part of what PyTorch promises to keep."""
    x = torch.linspace(-2.0, 2.0, 2 * 64, device="cpu").view(64, 2)
    weight, bias = torch.tensor([[0.5, -1.0], [2.0, 0.25], [-1.0, 1.0]], device="cpu"), torch.tensor([0.0, 1.0, -1.0], device="cpu")
    try:
        found = [_as_they_lie(x, weight, bias), _as_they_lie(x, weight, None), _as_they_lie(x, weight, bias, then="gelu", form="tanh")]
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False
    wanted = [F.linear(x, weight, bias), F.linear(x, weight), F.gelu(F.linear(x, weight, bias), approximate="tanh")]
    return all(torch.allclose(one, other, atol=1e-5) for one, other in zip(found, wanted, strict=True))


def _vendor() -> str:
    described = Path("/proc/cpuinfo")
    return described.read_text(errors="replace") if described.is_file() else platform.processor()
