"""l-DeTok. Paper: Yang et al., "Latent Denoising Makes Good Visual Tokenizers", 2025.

    images -> patches -> encoder -> (mean, log-variance) -> latents -> decoder -> patches -> convolution -> images

In training patches are masked and latents are noised, which leaves nothing to do afterwards. Parameter names are those of
Jiawei-Yang/DeTok ``models/detok.py``, but for the layers of blocks, which have CLIP's.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.linear import Linear
from tokbench.nn.configs import ViTConfig
from tokbench.nn.vit import ViT, learned
from tokbench.tokenizers.detok.config import DeTokConfig
from tokbench.tokenizers.normalisation import DETOK_STATISTICS
from tokbench.tokenizers.vae.latents import GaussianTokenizer
from tokbench.weights.key_maps.vit import from_timm

MASK = "decoder.mask_token"
"""What stands for masked patches in training."""

FASTEST, RANGE = 7.0, 1e4
"""Turns that the fastest channels make across an image, and how many times slower the slowest are."""


class _Side(ViT):
    """A transformer over all patches of an image, with learned positions and turned ones."""

    def __init__(self, config: ViTConfig, side: int) -> None:
        super().__init__(config)
        self.side, self.head = side, config.width // config.heads
        self.positional_embedding = learned(1, side**2, config.width)

    def run(self, patches: Float[Tensor, "b n w"]) -> Float[Tensor, "b n w"]:
        angles = angles_of(self.side, self.head, patches.device)
        cos, sin = angles.cos().to(patches.dtype), angles.sin().to(patches.dtype)
        return self.transform(patches + self.positional_embedding, turn=lambda x: x * cos + _quarter_turn(x) * sin)


class Encoder(_Side):
    """Images to mean and log-variance of every patch."""

    def __init__(self, config: DeTokConfig) -> None:
        width, patch = config.encoder.width, config.encoder.patch_size
        super().__init__(config.encoder, config.encoder.grid(config.image_size))
        self.patch_embed = nn.Sequential(nn.Conv2d(3, width, patch, patch))
        self.latent_head = Linear(width, 2 * config.channels)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c2 gh gw"]:
        """Encode images in [-1, 1]."""
        patches = rearrange(self.patch_embed(images), "b w gh gw -> b (gh gw) w")
        return rearrange(self.latent_head(self.run(patches)), "b (gh gw) c -> b c gh gw", gh=self.side)


class Decoder(_Side):
    """Latents of patches to images."""

    def __init__(self, config: DeTokConfig) -> None:
        width, self.patch = config.decoder.width, config.decoder.patch_size
        super().__init__(config.decoder, config.decoder.grid(config.image_size))
        self.decoder_embed = Linear(config.channels, width)
        self.ffn = nn.Conv2d(width, 3 * self.patch**2, 1)
        self.conv_out = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, latents: Float[Tensor, "b c gh gw"]) -> Float[Tensor, "b 3 h w"]:
        """Decode latents; values may leave [-1, 1]."""
        x = self.run(self.decoder_embed(rearrange(latents, "b c gh gw -> b (gh gw) c")))
        pixels = self.ffn(rearrange(x, "b (gh gw) w -> b w gh gw", gh=self.side))
        return self.conv_out(rearrange(pixels, "b (ph pw c) gh gw -> b c (gh ph) (gw pw)", ph=self.patch, pw=self.patch))


class DeTok(GaussianTokenizer):
    """Transformer tokenizer with continuous latents on a 2D grid, for images of one size.

    Args:
        config: Shape of the networks; with ``posterior="sample"`` encoding needs seeds.
    """

    config: DeTokConfig
    tileable = False

    def __init__(self, config: DeTokConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quant_conv, self.post_quant_conv = nn.Identity(), nn.Identity()

    @classmethod
    def own_names(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of DeTok, but for blocks; without what stands for masked patches."""
        named = {key.replace("decoder.ffn.1.", "decoder.ffn."): value for key, value in state.items() if key != MASK}
        return from_timm(named)

    def _statistics(self, folder: Path, stem: str) -> list[Path]:
        return [folder / DETOK_STATISTICS]

    def _read_statistics(self, place: Path) -> object:
        from tokbench.weights.weight_files import open_pickle

        return open_pickle(place)


def angles_of(side: int, channels: int, device: torch.device | None = None) -> Float[Tensor, "n d"]:
    """By how much the channels of a head are turned at every place of a square grid, in raster order.

    The first half of the channels turns with the row, the other with the column, from 0 at one edge to whole turns at the other. Within a
    half, frequencies run from fast to slow and once again; neighbours are pairs all the same, so the two of a pair have unlike angles.
    Published weights were trained so.

    Args:
        side: Places along each axis.
        channels: Those of a head, a multiple of 4.
        device: Where the result is wanted.
    """
    falling = FASTEST * RANGE ** torch.linspace(0, -1, channels // 4, device=device) * 2 * math.pi
    places = torch.linspace(0, 1, side, device=device)
    turned = places[:, None] * torch.cat([falling, falling])
    rows, columns = turned.repeat_interleave(side, dim=0), turned.repeat(side, 1)
    return torch.cat([rows, columns], dim=1)


def _quarter_turn(x: Float[Tensor, "b heads n d"]) -> Float[Tensor, "b heads n d"]:
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([-second, first], dim=-1).flatten(-2)
