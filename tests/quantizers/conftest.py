"""What the tests of quantizers share: golden sets and small helpers to compare with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor


@dataclass(frozen=True)
class Golden:
    """One set: the upstream's configuration, its inputs and outputs, and its state if it has one."""

    config: dict
    io: dict[str, Tensor]
    state: dict[str, Tensor]

    def rows(self, key: str) -> Tensor:
        """A map ``[B, C, h, w]`` as vectors ``[B, L, C]``."""
        return rearrange(self.io[key], "b c h w -> b (h w) c")


@pytest.fixture
def golden(goldens: Path) -> Callable[[str], Golden]:
    """Loads a set by name."""

    def load(name: str) -> Golden:
        folder = goldens / "quantizers" / name
        state = folder / "state_dict.safetensors"
        return Golden(
            json.loads((folder / "config.json").read_text()),
            load_file(folder / "io.safetensors"),
            load_file(state) if state.is_file() else {},
        )

    return load
