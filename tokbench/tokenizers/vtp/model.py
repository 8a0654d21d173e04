"""VTP. Paper: Yao et al., "Towards Scalable Pre-training of Visual Tokenizers for Generation", 2025.

    images -> patches and a class token -> encoder -> patches alone -> bottleneck -> latents -> decoder -> patches -> images

The model has a text side too, which reconstruction does not need. Parameter names are those of MiniMax-AI/VTP
``vtp/models/vtp_hf/modeling_vtp.py``, but for its transformers, whose blocks have CLIP's.
"""

from __future__ import annotations

import math
import re

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.linear import Linear
from tokbench.nn.vit import Turn, ViT, learned
from tokbench.tokenizers.vae.latents import LatentTokenizer
from tokbench.tokenizers.vtp.config import VTPConfig
from tokbench.weights.key_maps.vit import from_timm

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours of ImageNet, by which images in [0, 1] are normalised."""

BASE = 100.0
"""Turns of positions: the slowest channels turn almost so many times slower than the fastest."""

UNUSED = re.compile(
    r"(trunk\.mask_token$|(trunk|pixel_decoder)\.rope_embed\.|text_|token_embedding\.|positional_embedding$|ln_final\.|logit_|visual_proj\.)"
)
"""Beginnings of names that reconstruction does not read: masks of training, tables of turns, and the text side."""

RENAMES = (
    (r"^trunk\.", "encoder."),
    (r"^pixel_decoder\.", "decoder."),
    (r"^(encoder|decoder)\.blocks\.", r"\1.transformer."),
    (r"^(encoder|decoder)\.norm\.", r"\1.ln_post."),
)
"""Patterns and what they become, applied in this order."""


class Encoder(ViT):
    """Images to one vector a patch."""

    def __init__(self, config: VTPConfig) -> None:
        width, patch = config.encoder.width, config.encoder.patch_size
        super().__init__(config.encoder)
        self.head = width // config.encoder.heads
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, patch)})
        self.cls_token = learned(1, 1, width)
        self.feature_bottleneck = Linear(width, config.channels, bias=False)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c gh gw"]:
        """Encode images in [-1, 1]."""
        patches = self.patch_embed["proj"](((images + 1) / 2 - _colours(MEAN, images)) / _colours(STD, images))
        height, width = patches.shape[2:]
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), rearrange(patches, "b w gh gw -> b (gh gw) w")], dim=1)
        x = self.transform(tokens, slice(1, None), turning(height, width, self.head, images.device))
        return rearrange(self.feature_bottleneck(x), "b (gh gw) c -> b c gh gw", gh=height)


class Decoder(ViT):
    """Latents of patches to images."""

    def __init__(self, config: VTPConfig) -> None:
        width, self.patch = config.decoder.width, config.decoder.patch_size
        super().__init__(config.decoder)
        self.head = width // config.decoder.heads
        self.proj_in = nn.Conv2d(config.channels, width, 1)
        self.proj_out = nn.Conv2d(width, 3 * self.patch**2, 1)

    def forward(self, latents: Float[Tensor, "b c gh gw"]) -> Float[Tensor, "b 3 h w"]:
        """Decode latents; values may leave [-1, 1]."""
        height, width = latents.shape[2:]
        tokens = rearrange(self.proj_in(latents), "b w gh gw -> b (gh gw) w")
        x = self.transform(tokens, turn=turning(height, width, self.head, latents.device))
        pixels = F.pixel_shuffle(self.proj_out(rearrange(x, "b (gh gw) w -> b w gh gw", gh=height)), self.patch)
        return 2 * (pixels * _colours(STD, pixels) + _colours(MEAN, pixels)) - 1


class VTP(LatentTokenizer):
    """Transformer tokenizer with continuous latents on a 2D grid.

    Args:
        config: Shape of the networks.
    """

    config: VTPConfig

    def __init__(self, config: VTPConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quant_conv, self.post_quant_conv = nn.Identity(), nn.Identity()

    @classmethod
    def own_names(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of VTP, but for its transformers; gates and values of MLPs are one matrix. Without what reconstruction does not read."""
        renamed: dict[str, Tensor] = {}
        for key, value in state.items():
            name = key
            if UNUSED.match(key):
                continue
            for pattern, replacement in RENAMES:
                name = re.sub(pattern, replacement, name)
            renamed[name] = value
        return from_timm(_packed(renamed))


def turning(height: int, width: int, channels: int, device: torch.device | None = None) -> Turn:
    """Turn the last tokens, patches in raster order, by row and column, as DINOv3 does.

    Everything is in bfloat16, queries and keys too, whatever they were: the published weights were trained so.

    Args:
        height: Rows of patches.
        width: Columns of patches.
        channels: Those of a head, a multiple of 4; the two of a pair are half of them apart.
        device: Where the tokens are.
    """
    exponents = torch.arange(channels // 4, device=device, dtype=torch.bfloat16)
    periods = BASE ** (2 * exponents / (channels // 2))
    sides = (torch.arange(0.5, count, device=device, dtype=torch.bfloat16) / count for count in (height, width))
    places = 2.0 * torch.stack(torch.meshgrid(*sides, indexing="ij"), dim=-1).flatten(0, 1) - 1.0
    angles = (2 * math.pi * places[:, :, None] / periods).flatten(1).tile(2)
    cos, sin = angles.cos(), angles.sin()

    def turn(x: Tensor) -> Tensor:
        rounded = x.to(torch.bfloat16)
        before, patches = rounded.split([x.shape[2] - len(cos), len(cos)], dim=2)
        first, second = patches.chunk(2, dim=-1)
        return torch.cat([before, patches * cos + torch.cat([-second, first], dim=-1) * sin], dim=2).to(x.dtype)

    return turn


def _colours(values: tuple[float, ...], like: Tensor) -> Tensor:
    return like.new_tensor(values)[:, None, None]


def _packed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gates ``w1`` and values ``w2`` of MLPs as one matrix ``w12``."""
    packed = {}
    for key, value in state.items():
        other = state.get(key.replace(".mlp.w1.", ".mlp.w2."))
        if ".mlp.w1." in key and other is not None:
            packed[key.replace(".mlp.w1.", ".mlp.w12.")] = torch.cat([value, other])
        elif ".mlp.w2." not in key:
            packed[key] = value
    return packed
