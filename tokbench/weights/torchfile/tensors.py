"""Tensors from what a pickle claims of them: sizes, strides and offsets are held against the storage before one is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from math import prod

import torch
from torch import Tensor

from tokbench.weights.torchfile.words import MAX_ARGUMENTS, Global, Inert, Unreadable, Vocabulary, printable

EXPANDED_LIMIT = 2**24
"""Bytes a tensor may stand for beyond its storage, by strides of 0."""
STORAGES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "ComplexDouble": "complex128",
    "ComplexFloat": "complex64",
}
"""Names of typed storages, without the word itself."""
OTHER_DTYPES = (
    *("uint16", "uint32", "uint64", "complex32"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
)
"""Dtypes without a storage of their own, as far as this torch has them."""


@dataclass(frozen=True)
class Kind:
    """What is in a storage: its dtype, None for bare bytes."""

    dtype: torch.dtype | None

    @property
    def itemsize(self) -> int:
        """Bytes of a value."""
        return 1 if self.dtype is None else self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class Storage:
    """Values in one dimension that tensors are views of."""

    values: Tensor


def vocabulary(persistent: Callable[[object], object]) -> Vocabulary:
    """The names that tensors are pickled with; ``persistent`` finds their storages."""
    return Vocabulary(_FUNCTIONS, _constants(), persistent)


def claimed_bytes(kind: Kind, count: object, *, held: int, key: str) -> int:
    """Size of a storage by what its pickle claims.

    Raises:
        Unreadable: If the file holds less.
    """
    (values,) = short_counts((count,))
    if values * kind.itemsize > held:
        raise Unreadable(f"storage {printable(key)} claims {values * kind.itemsize} bytes, the file holds {held}")
    return values * kind.itemsize


def typed(raw: Tensor, kind: Kind) -> Tensor:
    """Bytes as values of a kind.

    Raises:
        Unreadable: If there are truth values other than 0 and 1.
    """
    if kind.dtype is None:
        return raw
    if kind.dtype is torch.bool and len(raw) and int(raw.max()) > 1:
        raise Unreadable("it holds truth values other than 0 and 1")
    return raw[: len(raw) // kind.itemsize * kind.itemsize].view(kind.dtype)


def short_counts(values: object) -> tuple[int, ...]:
    """Check that what the file gives as shape, strides or offset is some whole numbers of a sane size."""
    if not isinstance(values, tuple | list) or len(values) > 64 or not all(type(value) is int and 0 <= value < 2**40 for value in values):
        raise Unreadable("a tensor's shape, strides, offset or size are out of range")
    return tuple(values)


def detach(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors out of the file they lie in, each storage once."""
    copies: dict[int, torch.UntypedStorage] = {}
    own = {}
    for key, value in tensors.items():
        storage = value.untyped_storage()
        if storage.data_ptr() not in copies:
            copies[storage.data_ptr()] = storage.clone()
        view = torch.empty(0, dtype=value.dtype)
        view.set_(copies[storage.data_ptr()], value.storage_offset(), value.size(), value.stride())
        own[key] = _with_bits(view, conj=value.is_conj(), neg=value.is_neg())
    return own


def _view(storage: object, dtype: object, offset: object, size: object, stride: object, metadata: object) -> object:
    if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype | None):
        return Inert("tensor")
    values = storage.values if dtype is None else typed(storage.values.view(torch.uint8), Kind(dtype))
    sizes, strides, (start,) = short_counts(size), short_counts(stride), short_counts((offset,))
    if len(sizes) != len(strides):
        raise Unreadable("a tensor has a shape and strides of different length")
    last = start + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True)) if prod(sizes) else start - 1
    if last >= len(values):
        raise Unreadable(f"a tensor of shape {sizes} reaches beyond its storage of {len(values)} values")
    if prod(sizes) * values.element_size() > max(EXPANDED_LIMIT, values.nbytes) or prod(n or 1 for n in sizes) >= 2**60:
        raise Unreadable(f"a tensor claims the shape {sizes}, its storage holds {len(values)} values")
    view = values.as_strided(sizes, strides, values.storage_offset() + start)
    bits = metadata if type(metadata) is dict else {}
    return _with_bits(view, conj=view.is_complex() and bits.get("conj") is True, neg=bits.get("neg") is True)


def _with_bits(view: Tensor, *, conj: bool, neg: bool) -> Tensor:
    view = view.conj() if conj else view
    return torch._neg_view(view) if neg else view


def _tensor(storage: object, offset: object, size: object, stride: object, *rest: object) -> object:
    return _view(storage, None, offset, size, stride, rest[2] if len(rest) > 2 else None)


def _tensor_with_dtype(storage: object, offset: object, size: object, stride: object, *rest: object) -> object:
    dtype = rest[2] if isinstance(rest[2], torch.dtype) and rest[2] is not torch.bool else Inert("dtype")
    return _view(storage, dtype, offset, size, stride, rest[3] if len(rest) > 3 else None)


def _parameter(data: object = None, *rest: object) -> object:
    return data if isinstance(data, Tensor) else Inert("parameter")


def _with_type(function: object, kind: object, arguments: object, *rest: object) -> object:
    rebuild = _TENSORS.get(function.name) if isinstance(function, Global) else None
    if rebuild is None or not isinstance(arguments, tuple) or len(arguments) > MAX_ARGUMENTS:
        return Inert("tensor")
    return rebuild(*arguments)


def _size(values: object = ()) -> object:
    return torch.Size(short_counts(values))


def _device(name: object, *rest: object) -> object:
    if type(name) is not str or name not in ("cpu", "cuda", "mps", "meta"):
        return Inert("torch.device")
    return torch.device(name, rest[0]) if rest and type(rest[0]) is int and 0 <= rest[0] < 128 else torch.device(name)


_TENSORS: dict[str, Callable[..., object]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_with_dtype,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
}
_FUNCTIONS: dict[str, Callable[..., object]] = _TENSORS | {
    "torch._tensor._rebuild_from_type_v2": _with_type,
    "torch._tensor._rebuild_from_type": _with_type,
    "torch.tensor._rebuild_from_type": _with_type,
    "torch.Size": _size,
    "torch.device": _device,
}


@cache
def _constants() -> dict[str, object]:
    dtypes = (*STORAGES.values(), *OTHER_DTYPES)
    found: dict[str, object] = {f"torch.{name}": getattr(torch, name) for name in dtypes if hasattr(torch, name)}
    for module in ("torch", "torch.cuda"):
        found |= {f"{module}.{name}Storage": Kind(getattr(torch, dtype)) for name, dtype in STORAGES.items()}
    return found | {f"torch.{name}": Kind(None) for name in ("UntypedStorage", "storage.UntypedStorage", "storage._UntypedStorage")}
