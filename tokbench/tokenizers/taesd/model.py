"""TAESD, distilled autoencoders without a paper (Ollin Boer Bohan, madebyollin/taesd ``taesd.py``).

    images -> [0, 1] -> encoder: convolutions and residual blocks -> latents -> 3 tanh(z / 3) -> decoder -> images

Its latents are those of the autoencoder it stands in for, normalised as diffusion models read them. Parameter names are diffusers'.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.errors import TokbenchError
from tokbench.nn.autoencoder import Norm
from tokbench.tokenizers.normalisation import Normalisation
from tokbench.tokenizers.taesd.config import TAESDConfig
from tokbench.tokenizers.vae.latents import LatentTokenizer
from tokbench.tokens import ContinuousTokens
from tokbench.weights.key_maps.diffusers import check_same
from tokbench.weights.weight_files import SUFFIXES, Opened, open_file

HALVES = ("encoder", "decoder")
"""How the names of a pair of files end: ``taesd_encoder.pth``, ``taesd_decoder.pth``."""

_UPSTREAM = re.compile(r"(encoder|decoder)\.(\d+)\.(.+)")


class _Block(nn.Module):
    """Three convolutions around the identity; before them, of ``taef2``, 1x1 convolutions around it."""

    def __init__(self, width: int, *, pooled: bool = False) -> None:
        super().__init__()
        first, second, third = (nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.conv = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)
        if pooled:
            wide, narrow = nn.Conv2d(width, 4 * width, 1, bias=False), nn.Conv2d(4 * width, width, 1, bias=False)
            self.pool = nn.Sequential(wide, Norm(4, 4 * width), nn.ReLU(), narrow)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        x = x + self.pool(x) if hasattr(self, "pool") else x
        return torch.relu(self.conv(x) + x)


class _Coder(nn.Module):
    """Layers in a row, under the name diffusers has for them."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        return self.layers(x)


class TAESD(LatentTokenizer):
    """Tiny convolutional tokenizer with continuous latents on a 2D grid.

    Args:
        config: Shape of the network.
    """

    config: TAESDConfig
    normalisation, normalisation_told = Normalisation(), True  # its latents are so already

    def __init__(self, config: TAESDConfig) -> None:
        super().__init__()
        self.config = config
        width, last = config.widths[0], len(config.widths) - 1
        down: list[nn.Module] = []
        for inputs, outputs in pairwise((3, *config.stem)):
            down += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.ReLU()]
        for level, blocks in enumerate(config.blocks):
            if level or not config.stem:
                down.append(nn.Conv2d(width, width, 3, 2, 1, bias=False) if level else nn.Conv2d(3, width, 3, padding=1))
            down += [_Block(width, pooled=config.pooled and level == last) for _ in range(blocks)]
        ups = config.decoder_widths
        up: list[nn.Module] = [nn.Conv2d(config.z_channels, ups[0], 3, padding=1), nn.ReLU()]
        for level, blocks in enumerate(config.decoder_blocks):
            up += [_Block(ups[level], pooled=config.pooled and level == 0) for _ in range(blocks)]
            if level + 1 < len(ups):
                up += [nn.Upsample(scale_factor=2.0), nn.Conv2d(ups[level], ups[level + 1], 3, padding=1, bias=False)]
        self.encoder = _Coder([*down, nn.Conv2d(width, config.z_channels, 3, padding=1)])
        self.decoder = _Coder([*up, nn.Conv2d(ups[-1], 3, 3, padding=1)])
        self.quant_conv, self.post_quant_conv = nn.Identity(), nn.Identity()

    @classmethod
    def open_place(cls, place: Path, averages: bool | None) -> Opened:
        """Open weights: a file or folder of both halves, or the two files that madebyollin/taesd has for them, of which either is named."""
        found = _halves(place)
        if not found:
            return super().open_place(place, averages)
        opened = [open_file(part) for part in found]
        content = {half: part.values(part.content) for half, part in zip(HALVES, opened, strict=True)}
        return Opened(content, opened[0].format, tuple(found))

    @classmethod
    def own_names(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of diffusers; files of madebyollin/taesd have no ``layers``, and count the clamping before the decoder as one."""
        renamed = {}
        for key, value in state.items():
            found = _UPSTREAM.fullmatch(key)
            renamed[f"{found[1]}.layers.{int(found[2]) - (found[1] == 'decoder')}.{found[3]}" if found else key] = value
        return renamed

    def check_settings(self, settings: Mapping[str, Any], place: Path) -> None:
        """Refuse settings of diffusers that make another network of the same shapes."""
        if settings.get("_class_name") == "AutoencoderTiny":
            check_same(settings, {"act_fn": "relu", "upsampling_scaling_factor": 2, "upsample_fn": "nearest"}, place, "diffusers/tiny")

    def _latents(self, images: Tensor, seeds: list[int]) -> Tensor:
        return super()._latents((images + 1) / 2, seeds)

    def _from_tokens(self, latents: Tensor) -> Tensor:
        return 3 * torch.tanh(latents / 3)

    def _decode(self, tokens: ContinuousTokens, seeds: list[int]) -> Tensor:
        return super()._decode(tokens, seeds) * 2 - 1


def _halves(place: Path) -> list[Path]:
    """The two files of a pair, the encoder's first; none if the place is no pair.

    Raises:
        TokbenchError: If a folder holds several pairs.
    """
    folder, names = (place, place.iterdir()) if place.is_dir() else (place.parent, [place] if place.is_file() else [])
    pairs = set()
    for path in names:
        for half in HALVES:
            if path.stem.endswith(f"_{half}") and path.suffix in SUFFIXES:
                both = [folder / f"{path.stem.removesuffix(half)}{one}{path.suffix}" for one in HALVES]
                if all(one.is_file() for one in both):
                    pairs.add(tuple(both))
    if len(pairs) > 1:
        listed = ", ".join(sorted(pair[0].name for pair in pairs))
        raise TokbenchError(f"{place} holds several pairs of an encoder and a decoder: {listed}; give one of these files")
    return list(pairs.pop()) if pairs else []
