"""Networks without memory get no first values, and what is built in earnest is drawn as ever."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from tokbench.shapes import shapes_only


class Drawn(nn.Module):
    """Has its values drawn in all the ways that networks are."""

    def __init__(self):
        super().__init__()
        self.rows = nn.Embedding(8, 4)
        self.map = nn.Linear(4, 4)
        self.places = nn.Parameter(torch.empty(2, 4).uniform_(-1, 1))
        self.token = nn.Parameter(torch.zeros(1, 4))
        nn.init.trunc_normal_(self.token, std=0.02)
        nn.init.xavier_uniform_(tensor=self.map.weight)
        self.map.weight.data.normal_(0.0, 0.02)
        self.register_buffer("steps", torch.arange(4).float())


def test_shapes_are_those_of_the_network() -> None:
    with shapes_only():
        drawn = Drawn()
    assert all(value.is_meta for value in drawn.state_dict().values())
    assert {key: value.shape for key, value in drawn.state_dict().items()} == {
        key: value.shape for key, value in Drawn().state_dict().items()
    }


def test_what_lies_elsewhere_is_drawn() -> None:
    with shapes_only():
        own = nn.init.normal_(torch.zeros(64, device="cpu"))
        also = torch.zeros(64, device="cpu").normal_()
    assert all(values.abs().sum() > 0 for values in (own, also))
    torch.manual_seed(0)
    first = Drawn().state_dict()
    with shapes_only():
        Drawn()
    torch.manual_seed(0)
    assert all(torch.equal(value, first[key]) for key, value in Drawn().state_dict().items())


@pytest.mark.parametrize("name", ["vqvae/tiny", "vqgan/tiny", "flowmo/tiny", "vae/tiny"])
def test_the_compiler_is_not_imported_for_it(name: str) -> None:
    code = f"""
import sys
from tokbench.plugins import import_class
from tokbench.shapes import shapes_only
from tokbench.tokenizers import zoo
family, variant = zoo.resolve({name!r})
with shapes_only():
    import_class(family.model)(variant.config)
print("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == ["False"]
