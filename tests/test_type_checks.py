"""The annotations are checked while the tests run."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import typing
from types import ModuleType

import jaxtyping
import pytest
import torch

import tokbench.nn
import tokbench.quantizers
from tokbench.nn.autoencoder import ResBlock
from tokbench.quantizers.nearest import nearest_codes
from tokbench.tokens import ContinuousTokens

insides = pytest.mark.skipif(
    os.environ.get("TOKBENCH_CHECKED") != "all", reason="the insides of rooms are checked with TOKBENCH_CHECKED=all"
)


@insides
def test_a_wrong_number_of_axes_fails_in_a_network() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="x"):
        ResBlock(32, 32, 32)(torch.zeros(1, 32, 8))


def test_a_wrong_number_of_axes_fails() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="latents"):
        ContinuousTokens(torch.zeros(1, 4), (2, 2))


@insides
def test_axes_of_one_name_must_agree() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="codebook"):
        nearest_codes(torch.zeros(5, 4), torch.zeros(7, 3))


def test_a_wrong_dtype_in_a_dataclass_fails() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="latents"):
        ContinuousTokens(torch.zeros(1, 4, 2, dtype=torch.int64), (2, 2))


def test_an_int_may_stand_for_a_float() -> None:
    from tokbench.quantizers.vq import VectorQuantizer

    assert VectorQuantizer(4, 2, beta=1).beta == 1


def modules(package: ModuleType) -> list[str]:
    return [f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]


CHECKED = {*modules(tokbench.nn), *modules(tokbench.quantizers), "tokbench.tokens", "tokbench.tokenizers.base"}
WITHOUT_TORCH = {"tokbench.quantizers.configs"}
"""Settings, which name what they build as types alone."""


@pytest.mark.parametrize("name", sorted(CHECKED - WITHOUT_TORCH))
def test_annotations_can_be_resolved(name: str) -> None:
    """One that cannot be is not checked, silently."""
    module = importlib.import_module(name)
    checked = 0
    for owner in [module, *(value for value in vars(module).values() if inspect.isclass(value) and value.__module__ == name)]:
        for function in vars(owner).values():
            if inspect.isfunction(function) and function.__module__ == name:
                typing.get_type_hints(function)
                checked += 1
    assert checked
