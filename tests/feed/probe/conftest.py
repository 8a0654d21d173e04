"""Small pictures with a rule in them, a tokenizer that reads it off, and budgets of a second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from einops import rearrange, repeat
from PIL import Image

from tokbench.data.source import ImageSource
from tokbench.feed.dataset import TokenDataset
from tokbench.feed.export import ExportOptions, export
from tokbench.feed.probe.network import make_network
from tokbench.feed.probe.sequences import Sequences, probe_vocabulary
from tokbench.layout import TokenLayout
from tokbench.ranks import Ranks
from tokbench.records.probe_protocol import ProbeProtocol
from tokbench.records.protocol import Protocol, get_protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import DiscreteTokens

CODES = 12
SIZE = 8

BUDGET = ProbeProtocol(
    "tests",
    1,
    hidden_size=32,
    intermediate_size=64,
    images_seen=240,
    layers=1,
    learning_rate=1e-2,
    augment="none",
    curve_points=2,
    curve_images=5,
    precision="fp32",
)


class Ramps(ImageSource):
    """Pictures of 4 x 4 blocks whose level rises by a step a block in red and falls in green; three of each group, labelled by the step."""

    ready_size = SIZE

    def __init__(self, count: int, *, first: int = 0, name: str = "ramps", described: bool = False) -> None:
        self.name, self.first, self.described = name, first, described
        self.ids = tuple(f"{(first + i) // 3:03d}/{(first + i) % 3}" for i in range(count))

    def _codes(self, index: int) -> np.ndarray:
        rng = np.random.default_rng(self.first + index)
        codes = (rng.integers(CODES) + np.arange(16) * self._step(index)) % CODES
        noisy = rng.random(16) < 0.1
        codes[noisy] = rng.integers(CODES, size=int(noisy.sum()))
        return codes.reshape(4, 4)

    def _step(self, index: int) -> int:
        return 1 + (self.first + index) % 3

    def read(self, index: int) -> Image.Image:
        codes = self._codes(index)
        levels = np.stack([codes * 20, (CODES - 1 - codes) * 20, codes * 0], axis=2)
        return Image.fromarray(levels.repeat(2, axis=0).repeat(2, axis=1).astype(np.uint8))

    def raw_digest(self, index: int) -> bytes:
        return (self.first + index).to_bytes(32, "big")

    def group(self, index: int) -> str:
        return self.ids[index].split("/")[0]

    @property
    def has_labels(self) -> bool:
        return self.described

    @property
    def label_names(self) -> tuple[str, ...]:
        return ("none", "slow", "fast", "very fast") if self.described else ()

    def label(self, index: int) -> int | None:
        return self._step(index) if index % 5 else None

    @property
    def has_captions(self) -> bool:
        return self.described

    def caption(self, index: int) -> str | None:
        return "ü" * (index % 7) if index % 5 else None


@dataclass(frozen=True)
class BlocksConfig:
    """How the blocks are written down."""

    codebooks: int = 1
    axes: int = 2


class Blocks(Tokenizer):
    """Levels of blocks, of the red channel and, as a second codebook, of the green."""

    def __init__(self, config: BlocksConfig | None = None) -> None:
        super().__init__()
        self.config, self.name = config or BlocksConfig(), "tests/blocks"

    def layout(self, height: int, width: int) -> TokenLayout:
        grid = (height // 2, width // 2)
        return TokenLayout((height, width), grid if self.config.axes == 2 else (grid[0] * grid[1],), self._sizes)

    def _image_size(self, grid: tuple[int, ...]) -> tuple[int, int]:
        side = 2 * round(float(np.prod(grid)) ** 0.5)
        return (side, side)

    @property
    def _sizes(self) -> tuple[int, ...]:
        return (CODES, CODES + 2)[: self.config.codebooks]

    def _encode(self, images: torch.Tensor, seeds: object) -> DiscreteTokens:
        levels = ((images[:, : self.config.codebooks, ::2, ::2] + 1) * 127.5 / 20).round().long()
        return DiscreteTokens(rearrange(levels, "b k h w -> b (h w) k"), self.layout(*images.shape[2:]).grid, self._sizes)

    def _decode(self, tokens: DiscreteTokens, seeds: object) -> torch.Tensor:
        side = round(tokens.codes.shape[1] ** 0.5)
        levels = repeat(tokens.codes.float() * 20, "b (h w) k -> b k (h p) (w q)", h=side, p=2, q=2)
        images = torch.zeros(len(tokens), 3, 2 * side, 2 * side)
        images[:, : levels.shape[1]] = levels
        return (images / 127.5 - 1).clamp(-1, 1)


@pytest.fixture(scope="session")
def small() -> Protocol:
    return get_protocol(changes={"size": SIZE, "micro_batch": 16})


@pytest.fixture
def sequences_of(small: Protocol, tmp_path: Path) -> Callable[..., Sequences]:
    """Export ramps and read them as sequences."""
    made = iter(range(99))

    def make(count: int = 20, *, condition: str = "none", first: int = 0, **config: int) -> Sequences:
        out = tmp_path / f"tokens{next(made)}"
        source = Ramps(count, first=first, described=condition != "none")
        export(Blocks(BlocksConfig(**config)), source, out, protocol=small, options=ExportOptions(ranks=Ranks()))
        dataset = TokenDataset(out)
        return Sequences(dataset, probe_vocabulary(dataset), condition)

    return make


@pytest.fixture
def network_of() -> Callable[..., torch.nn.Module]:
    """A network with random weights, larger ones than at the begin of training so that no two ids look alike to it."""

    def make(sequences: Sequences, *, gain: float = 8.0, budget: ProbeProtocol = BUDGET) -> torch.nn.Module:
        model = make_network(sequences.vocabulary, budget, length=sequences.length).eval()
        with torch.no_grad():
            for weight in model.parameters():
                if weight.ndim > 1:
                    weight *= gain
        return model

    return make


@pytest.fixture(scope="session")
def budget() -> ProbeProtocol:
    return BUDGET


@pytest.fixture(scope="session")
def ramps() -> type[Ramps]:
    return Ramps


@pytest.fixture(scope="session")
def blocks() -> Callable[..., Blocks]:
    return lambda **config: Blocks(BlocksConfig(**config))
