"""The autoencoder of Wan and Qwen-Image on stills: what is left of its causal layers over time when a clip is one frame.

    image [B, 3, H, W]
      | patches of 1 or 2 pixels into channels, conv_in
      | down.0 .. down.n-1   residual blocks; stride-2 convolution between levels; around both, in Wan 2.2, an averaging shortcut
      | mid                  block, attention, block
      | norm_out, swish, conv_out
    features [B, z, H/f, W/f]
      | ... the decoder mirrors it, with one more block a level
    image [B, 3, H, W]

The frames before the first are zeros. So of every kernel over time only the last slice counts, and layers that halve or double the
number of frames pass one by. Its blocks are those of ``tokbench.nn.autoencoder``, normalised place by place.

Source: Wan Team 2025, "Wan: Open and Advanced Large-Scale Video Generative Models", Wan-Video/Wan2.2 ``wan/modules/vae2_1.py`` and
``vae2_2.py``; huggingface/diffusers ``autoencoder_kl_wan.py``.
"""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.nn import whole
from tokbench.nn.autoencoder import UNIT, Downsample, Middle, UnitNorm, Upsample, through
from tokbench.nn.configs import WanNetworkConfig
from tokbench.nn.shortcuts import Level, after_nothing, averaged, repeated


def _shrunk(x: Tensor, *, channels: int, halve: bool, twice: bool) -> Tensor:
    """Squares as channels, averaged; with half as many frames, together with those of the zeros before the first."""
    squares = F.pixel_unshuffle(x, 2) if halve else x
    return averaged(after_nothing(squares, 4) if twice else squares, channels)


def _grown(x: Tensor, *, channels: int, twice: bool) -> Tensor:
    """Channels repeated and moved into squares; with twice as many frames, the second of the two that there would be."""
    frames = repeated(x, channels * (8 if twice else 4)).unflatten(1, (channels, -1, 4))
    return F.pixel_shuffle(frames[:, :, -1].flatten(1, 2), 2)


class WanEncoder(whole.Halved, nn.Module):
    """Image to mean and log-variance, before the 1x1 convolution."""

    def __init__(self, config: WanNetworkConfig) -> None:
        super().__init__()
        widths = config.widths(config.channels)
        self.patch = config.patch
        self.conv_in = nn.Conv2d(3 * config.patch**2, config.channels, 3, padding=1)
        self.down = nn.ModuleList()
        for i, (inputs, outputs) in enumerate(zip((config.channels, *widths), widths, strict=False)):
            last = i == len(widths) - 1
            shortcut = (
                partial(_shrunk, channels=outputs, halve=not last, twice=not last and config.temporal[i]) if config.shortcuts else None
            )
            step = None if last else Downsample(outputs)
            self.down.append(Level(inputs, outputs, config.num_res_blocks, UNIT, step=step, shortcut=shortcut))
        self.mid = Middle(widths[-1], UNIT, attention=True)
        self.norm_out = UnitNorm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.z_channels, 3, padding=1)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b z h2 w2"]:
        """Encode images in [-1, 1]."""
        pixels = rearrange(images, "b c (h p) (w q) -> b (c q p) h w", p=self.patch, q=self.patch)
        x = whole.halfway(lambda: through(self.down, self.conv_in(pixels)))
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class WanDecoder(whole.Halved, nn.Module):
    """Latents, after the 1x1 convolution, to image; ``up.0`` is the highest resolution, as in ``tokbench.nn.autoencoder``."""

    def __init__(self, config: WanNetworkConfig) -> None:
        super().__init__()
        widths = config.widths(config.decoder_channels or config.channels)
        self.patch = config.patch
        inputs = widths[-1]
        self.conv_in = nn.Conv2d(config.z_channels, inputs, 3, padding=1)
        self.mid = Middle(inputs, UNIT, attention=True)
        levels: list[Level] = []
        for i in reversed(range(len(widths))):
            outputs = widths[i]
            after = outputs if config.shortcuts or i == 0 else outputs // 2
            step = Upsample(outputs, after) if i else None
            shortcut = partial(_grown, channels=outputs, twice=config.temporal[i - 1]) if config.shortcuts and i else None
            levels.insert(0, Level(inputs, outputs, config.num_res_blocks + 1, UNIT, step=step, shortcut=shortcut))
            inputs = after
        self.up = nn.ModuleList(levels)
        self.norm_out = UnitNorm(inputs)
        self.conv_out = nn.Conv2d(inputs, 3 * config.patch**2, 3, padding=1)

    def forward(self, features: Float[Tensor, "b z h w"]) -> Float[Tensor, "b 3 h2 w2"]:
        """Decode features; values may leave [-1, 1]."""
        x = whole.halfway(lambda: self.mid(self.conv_in(features)))
        pixels = self.conv_out(F.silu(self.norm_out(through(reversed(self.up), x))))
        return rearrange(pixels, "b (c q p) h w -> b c (h p) (w q)", p=self.patch, q=self.patch)
