"""The discrete VAE of DALL-E. Paper: Ramesh et al., "Zero-Shot Text-to-Image Generation", 2021, section 2.1.

    images -> 0.8 x + 0.1 -> 7x7 -> groups of blocks, halving between them -> scores of K codes -> the highest -> code
    code -> its vector -> groups of blocks, doubling between them -> 3 means and 3 scales -> sigmoid of the means -> inverse -> images

Pixels in [0, 1] are kept off 0 and 1, where the density of a logit is unbounded. A block is ReLU and convolution four times, scaled and added
to its input. Published as two pickled modules, ``encoder.pkl`` and ``decoder.pkl``, which are read as data in one folder. Source:
openai/DALL-E ``dall_e/encoder.py``, ``decoder.py``, ``utils.py``.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.quantizers.base import check_finite
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.dalle.config import GROUPS, DalleConfig
from tokbench.tokens import DiscreteTokens
from tokbench.weights.weight_files import Opened, open_file

EPS = 0.1
"""How far pixels are kept off 0 and 1."""
HALVES = ("encoder", "decoder")
SUFFIXES = {"w": "weight", "b": "bias"}


class Block(nn.Module):
    """ReLU and convolution four times, narrow within, scaled and added to the input, which is projected where the width changes."""

    def __init__(self, inputs: int, outputs: int, kernels: Sequence[int], gain: float) -> None:
        super().__init__()
        self.gain = gain
        self.id_path = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        widths = (inputs, *[outputs // 4] * 3, outputs)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for i, kernel in enumerate(kernels):
            layers[f"relu_{i + 1}"] = nn.ReLU()
            layers[f"conv_{i + 1}"] = nn.Conv2d(widths[i], widths[i + 1], kernel, padding=kernel // 2)
        self.res_path = nn.Sequential(layers)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Transform features, keeping their size."""
        return self.id_path(x) + self.gain * self.res_path(x)


def _network(
    first: nn.Conv2d, widths: Sequence[int], outputs: int, blocks: int, kernels: Sequence[int], resample: nn.Module
) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict(input=first)
    inputs = first.out_channels
    for g, width in enumerate(widths, start=1):
        group: OrderedDict[str, nn.Module] = OrderedDict()
        for i in range(1, blocks + 1):
            group[f"block_{i}"] = Block(inputs, width, kernels, gain=1 / (len(widths) * blocks) ** 2)
            inputs = width
        if g < len(widths):
            group["resample"] = resample
        parts[f"group_{g}"] = nn.Sequential(group)
    parts["output"] = nn.Sequential(OrderedDict(relu=nn.ReLU(), conv=nn.Conv2d(inputs, outputs, 1)))
    return nn.Sequential(parts)


class DalleVAE(Tokenizer):
    """Convolutional tokenizer whose encoder scores the codes of a 2D grid; encoding takes the best ones.

    Args:
        config: Shape of the network.
    """

    config: DalleConfig

    def __init__(self, config: DalleConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.hidden * 2**i for i in range(GROUPS)]
        first, last = nn.Conv2d(3, widths[0], 7, padding=3), nn.Conv2d(config.codes, config.vector, 1)
        self.encoder = _network(first, widths, config.codes, config.blocks, (3, 3, 3, 1), nn.MaxPool2d(2))
        self.decoder = _network(last, widths[::-1], 6, config.blocks, (1, 3, 3, 3), nn.Upsample(scale_factor=2, mode="nearest"))

    @classmethod
    def open_place(cls, place: Path, averages: bool | None) -> Opened:
        """Open weights: a folder with both pickled modules, or a file of tensors."""
        parts = [place / f"{half}.pkl" for half in HALVES]
        if not all(part.is_file() for part in parts):
            return super().open_place(place, averages)
        opened = [open_file(part) for part in parts]
        form = "zip" if any(part.format == "zip" for part in opened) else opened[0].format
        return Opened({half: part.content for half, part in zip(HALVES, opened, strict=True)}, form, tuple(parts))

    @classmethod
    def own_names(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights are called so, and blocks stand in the encoder and the decoder themselves."""
        renamed = {}
        for key, value in state.items():
            name, _, kind = re.sub(r"^(encoder|decoder)\.blocks\.", r"\1.", key).rpartition(".")
            renamed[f"{name}.{SUFFIXES.get(kind, kind)}" if name else key] = value
        return renamed

    def scores(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k h2 w2"]:
        """Score every code at every place (differentiable).

        Args:
            images: RGB in [-1, 1].
        """
        return self.encoder((images + 1) / 2 * (1 - 2 * EPS) + EPS)

    def _encode(self, images: Tensor, seeds: list[int]) -> DiscreteTokens:
        scores = self.scores(images)
        check_finite(scores, "scores")
        codes = rearrange(scores.argmax(dim=1), "b h w -> b (h w) 1").contiguous()
        return DiscreteTokens(codes, (scores.shape[2], scores.shape[3]), (self.config.codes,))

    def _decode(self, tokens: DiscreteTokens, seeds: list[int]) -> Tensor:
        vectors = rearrange(self._embed(tokens.codes), "b (h w) d -> b d h w", h=tokens.grid[0], w=tokens.grid[1])
        means = self.decoder[1:](vectors)[:, :3].sigmoid()
        return ((means - EPS) / (1 - 2 * EPS)).clamp(0, 1) * 2 - 1

    def _embed(self, codes: Tensor) -> Tensor:
        """What the decoder's first convolution makes of a one-hot code."""
        first = self.decoder[0]
        assert isinstance(first, nn.Conv2d)
        assert first.bias is not None
        return first.weight[:, :, 0, 0].T[codes.squeeze(-1)] + first.bias
