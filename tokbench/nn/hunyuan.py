"""The autoencoder of HunyuanImage 2.1: residual blocks, with steps that move squares of places into channels and shortcuts around them.

    image [B, 3, H, W]
      | conv_in
      | down.0 .. down.n-1   residual blocks; convolution, squares into channels, plus channels of the squares averaged
      | mid                  block, attention, block
      | norm_out, swish, conv_out, plus channels averaged
    features [B, 2 z, H/f, W/f]
      | ... the decoder mirrors it with one more block a level, and repeats channels where the encoder averages them
    image [B, 3, H, W]

Source: Tencent-Hunyuan/HunyuanImage-2.1 ``hyimage/models/vae``; huggingface/diffusers ``autoencoder_kl_hunyuanimage.py``.
"""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.nn import whole
from tokbench.nn.autoencoder import Middle, Norm, through
from tokbench.nn.configs import HunyuanNetworkConfig
from tokbench.nn.shortcuts import Level, averaged, repeated


def _packed(x: Tensor) -> Tensor:
    """Squares of 2x2 places as channels, the place before the channel, unlike ``pixel_unshuffle``."""
    return rearrange(x, "b c (h p) (w q) -> b (p q c) h w", p=2, q=2)


def _unpacked(x: Tensor) -> Tensor:
    return rearrange(x, "b (p q c) h w -> b c (h p) (w q)", p=2, q=2)


class _StepDown(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs // 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return _packed(self.conv(x)) + averaged(_packed(x), 4 * self.conv.out_channels)


class _StepUp(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, 4 * outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return _unpacked(self.conv(x) + repeated(x, self.conv.out_channels))


class HunyuanEncoder(whole.Halved, nn.Module):
    """Image to mean and log-variance."""

    def __init__(self, config: HunyuanNetworkConfig) -> None:
        super().__init__()
        widths, groups = config.widths, config.norm_groups
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        steps = [_StepDown(one, two) for one, two in pairwise(widths)]
        self.down = nn.ModuleList(
            Level(width, width, config.num_res_blocks, groups, step=step) for width, step in zip(widths, [*steps, None], strict=True)
        )
        self.mid = Middle(widths[-1], groups, attention=True)
        self.norm_out = Norm(groups, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.z_channels, 3, padding=1)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b z h2 w2"]:
        """Encode images in [-1, 1]."""
        x = self.mid(whole.halfway(lambda: through(self.down, self.conv_in(images))))
        return self.conv_out(F.silu(self.norm_out(x))) + averaged(x, self.conv_out.out_channels)


class HunyuanDecoder(whole.Halved, nn.Module):
    """Latents to image; ``up.0`` is the lowest resolution, as in the published file."""

    def __init__(self, config: HunyuanNetworkConfig) -> None:
        super().__init__()
        widths, groups = config.widths[::-1], config.norm_groups
        self.conv_in = nn.Conv2d(config.z_channels, widths[0], 3, padding=1)
        self.mid = Middle(widths[0], groups, attention=True)
        steps = [_StepUp(one, two) for one, two in pairwise(widths)]
        self.up = nn.ModuleList(
            Level(width, width, config.num_res_blocks + 1, groups, step=step) for width, step in zip(widths, [*steps, None], strict=True)
        )
        self.norm_out = Norm(groups, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, features: Float[Tensor, "b z h w"]) -> Float[Tensor, "b 3 h2 w2"]:
        """Decode features; values may leave [-1, 1]."""
        x = whole.halfway(lambda: self.mid(self.conv_in(features) + repeated(features, self.conv_in.out_channels)))
        return self.conv_out(F.silu(self.norm_out(through(self.up, x))))
