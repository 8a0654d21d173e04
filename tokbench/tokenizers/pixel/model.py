"""Pixels as tokens. Paper: Chen et al., "Generative Pretraining from Pixels" (Image-GPT), 2020, section 3.3.

images -> nearest of 512 colours, pixel by pixel -> codes in raster order -> colours -> images
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from tokbench.arrays import open_array
from tokbench.errors import TokbenchError
from tokbench.images import to_uint8
from tokbench.json_files import read_json
from tokbench.quantizers.nearest import nearest_codes
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.pixel.variants import PaletteConfig, RGBConfig
from tokbench.tokens import DiscreteTokens
from tokbench.weights.weight_files import Opened


class PixelRGB(Tokenizer):
    """The three bytes of every pixel; decoding returns the very same bytes."""

    config: RGBConfig

    def __init__(self, config: RGBConfig) -> None:
        super().__init__()
        self.config = config

    def _encode(self, images: Tensor, seeds: list[int]) -> DiscreteTokens:
        codes = rearrange(to_uint8(images).to(torch.int64), "b c h w -> b (h w) c")
        return DiscreteTokens(codes.contiguous(), (images.shape[2], images.shape[3]), (256, 256, 256))

    def _decode(self, tokens: DiscreteTokens, seeds: list[int]) -> Tensor:
        height, width = tokens.grid
        return rearrange(self._embed(tokens.codes), "b (h w) c -> b c h w", h=height, w=width)

    def _embed(self, codes: Tensor) -> Tensor:
        return codes.float() / 127.5 - 1.0


class PixelPalette(Tokenizer):
    """The nearest colour of a palette for every pixel, by squared distance in [-1, 1].

    Args:
        config: Size of the palette; the colours are its weights, named ``clusters`` as in Image-GPT's files.
    """

    config: PaletteConfig
    clusters: Tensor

    def __init__(self, config: PaletteConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("clusters", torch.zeros(config.colours, 3))

    @classmethod
    def open_place(cls, place: Path, averages: bool | None) -> Opened:
        """Read a palette: safetensors, Image-GPT's ``clusters`` as .npy, its ``preprocessor_config.json``, or the folder of that."""
        path = place / "preprocessor_config.json" if place.is_dir() else place
        if path.suffix not in (".npy", ".json"):
            return super().open_place(place, averages)
        try:
            values = open_array(path) if path.suffix == ".npy" else read_json(path)["clusters"]
            clusters = torch.tensor(np.asarray(values, dtype=np.float32))
        except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            raise TokbenchError(
                f"{path} holds no palette ({error}); give an array of colours [N, 3] in [-1, 1], as .npy or in JSON as clusters"
            ) from error
        return Opened({"clusters": clusters}, "npy" if path.suffix == ".npy" else "json", (path,))

    def _encode(self, images: Tensor, seeds: list[int]) -> DiscreteTokens:
        pixels = rearrange(images, "b c h w -> (b h w) c")
        codes = nearest_codes(pixels, self.clusters).reshape(len(images), -1, 1)
        return DiscreteTokens(codes, (images.shape[2], images.shape[3]), (self.config.colours,))

    def _decode(self, tokens: DiscreteTokens, seeds: list[int]) -> Tensor:
        height, width = tokens.grid
        return rearrange(self._embed(tokens.codes), "b (h w) c -> b c h w", h=height, w=width)

    def _embed(self, codes: Tensor) -> Tensor:
        return self.clusters[codes.squeeze(-1)]


def build(config: RGBConfig | PaletteConfig) -> Tokenizer:
    """Build the tokenizer a configuration is for."""
    return PixelRGB(config) if isinstance(config, RGBConfig) else PixelPalette(config)
