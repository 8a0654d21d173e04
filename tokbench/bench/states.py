"""What a metric keeps, taken out as tensors by name and put back: in memory from chunk to chunk, or through a file.

STATE                     a tensor
STATE/places, .../values  a tensor of integers that are mostly 0, such as counts of codes
STATE/00000, .../00001    the tensors of a list; those that torchmetrics would concatenate are one
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tokbench.bench.torchmetric import Metric, dim_zero_cat

PLACES, VALUES = "places", "values"


def taken(metric: Metric) -> dict[str, Tensor]:
    """Take out what a metric keeps; it begins anew.

    Raises:
        TypeError: If it keeps something else than tensors and lists of them.
    """
    found: dict[str, Tensor] = {}
    for name in metric._defaults:
        value: Any = getattr(metric, name)
        if isinstance(value, Tensor):
            found |= _dense_or_sparse(name, value.detach().cpu(), metric._defaults[name])
        elif isinstance(value, list) and all(isinstance(item, Tensor) for item in value):
            items = _concatenated(value) if metric._reductions[name] is dim_zero_cat else value
            found |= {f"{name}/{number:05d}": item.detach().cpu().clone() for number, item in enumerate(items)}
        else:
            raise TypeError(f"its state {name} is no tensor and no list of tensors")
    metric.reset()
    return found


def put_back(metric: Metric, states: Mapping[str, Tensor]) -> None:
    """Have a metric keep what was taken out of one of its kind, and nothing else.

    Raises:
        ValueError: If a state is missing, or cannot be one.
    """
    metric.reset()
    for name, default in metric._defaults.items():
        if isinstance(default, Tensor):
            setattr(metric, name, _tensor(name, default, states).to(metric.device))
        else:
            own = sorted(key for key in states if key.partition("/")[0] == name)
            setattr(metric, name, [states[key].to(metric.device) for key in own])


def kept(metric: Metric) -> dict[str, Any]:
    """What a metric keeps, by the names that ``merge_state`` takes; it stays as it is when the metric goes on."""
    values = {name: getattr(metric, name) for name in metric._defaults}
    return {name: list(value) if isinstance(value, list) else value for name, value in values.items()}


def _concatenated(items: list[Tensor]) -> list[Tensor]:
    kinds = {(item.dtype, item.shape[1:], item.device) for item in items if item.ndim}
    return [torch.cat(items)] if len(kinds) == 1 and all(item.ndim for item in items) else items


def _dense_or_sparse(name: str, value: Tensor, default: Any) -> dict[str, Tensor]:
    if value.dtype in (torch.int32, torch.int64) and isinstance(default, Tensor) and value.shape == default.shape:
        places = value.flatten().nonzero().flatten()
        if places.numel() * (places.element_size() + value.element_size()) < value.numel() * value.element_size():
            return {f"{name}/{PLACES}": places, f"{name}/{VALUES}": value.flatten()[places]}
    return {name: value.clone()}


def _tensor(name: str, default: Tensor, states: Mapping[str, Tensor]) -> Tensor:
    if name in states:
        return states[name]
    places, values = states.get(f"{name}/{PLACES}"), states.get(f"{name}/{VALUES}")
    if places is None or values is None:
        raise ValueError(f"its state {name} is missing")
    if places.dtype != torch.int64 or places.ndim != 1 or places.shape != values.shape:
        raise ValueError(f"its state {name} is damaged")
    if len(places) and not 0 <= int(places.min()) <= int(places.max()) < default.numel():
        raise ValueError(f"its state {name} has places that it has not")
    value = torch.zeros(default.numel(), dtype=values.dtype)
    value[places] = values
    return value.reshape(default.shape)
