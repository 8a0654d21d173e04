"""The autoencoder of Open-MAGVIT2: residual blocks alone, and a decoder that every level reminds of the code's statistics.

    image -> conv_in -> levels of residual blocks, strided convolutions between them -> mid_block -> norm, swish, conv_out 1x1 -> features
    code  -> conv_in -> mid_block -> (adaptive norm, residual blocks, convolution and depth to space) a level -> norm, swish, conv_out -> image
      |                                     ^
      +---- spread and mean of a channel ---+

Convolutions before normalisation have no bias. Parameter names are those of the published checkpoints. Source: Luo et al.,
"Open-MAGVIT2: An Open-Source Project Toward Democratizing Auto-regressive Visual Generation"; TencentARC/SEED-Voken
``src/Open_MAGVIT2/modules/diffusionmodules/improved_model.py``.
"""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.linear import Linear
from tokbench.nn import whole
from tokbench.nn.autoencoder import Level, Norm, ResBlock, through
from tokbench.nn.configs import AutoencoderConfig
from tokbench.nn.haar import from_haar, haar


class AdaptiveNorm(nn.Module):
    """Group normalisation whose scale follows from a code's deviation over all places, and whose shift from its mean.

    The deviation divides by one less than there are places, as published, so a code has at least two of them.
    """

    def __init__(self, channels: int, z_channels: int, groups: int) -> None:
        super().__init__()
        self.norm = Norm(groups, channels, eps=1e-6, affine=False)
        self.gamma = Linear(z_channels, channels)
        self.beta = Linear(z_channels, channels)

    def forward(self, x: Float[Tensor, "b c h w"], code: Float[Tensor, "b z h2 w2"]) -> Float[Tensor, "b c h w"]:
        """Normalise features, keeping their size."""
        told = whole.moments(code, code.shape[1])
        mean, variance = (code.mean(dim=(2, 3)), code.var(dim=(2, 3))) if told is None else (value[None] for value in told)
        return self.gamma((variance + 1e-6).sqrt())[:, :, None, None] * self.norm(x) + self.beta(mean)[:, :, None, None]


class DepthToSpace(nn.Module):
    """Convolve to four times the channels and make four places of each: all channels of the upper left one come first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 4 * channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Return features of twice the size."""
        return rearrange(self.conv1(x), "b (dy dx c) h w -> b c (h dy) (w dx)", dy=2, dx=2)


def _halving(channels: int) -> nn.Conv2d:
    """Zeros stand on all sides, where VQGAN has them right and below."""
    return nn.Conv2d(channels, channels, 3, stride=2, padding=1)


class Encoder(whole.Halved, nn.Module):
    """Image to features; the output has ``2 * z_channels`` channels with ``double_z``."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.patch = config.patch
        self.conv_in = nn.Conv2d(3 * config.patch**2, config.channels, 3, padding=1, bias=False)
        self.down = nn.ModuleList()
        inputs, groups = config.channels, config.norm_groups
        for i, width in enumerate(config.widths):
            downsample = _halving if i < config.steps else None
            self.down.append(Level(inputs, width, config.blocks(i), groups, design="magvit2", downsample=downsample))
            inputs = width
        self.mid_block = nn.ModuleList(ResBlock(inputs, inputs, groups, design="magvit2") for _ in range(config.num_res_blocks))
        self.norm_out = Norm(groups, inputs, eps=1e-6)
        self.conv_out = nn.Conv2d(inputs, config.z_channels * (2 if config.double_z else 1), 1)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b z h2 w2"]:
        """Encode images in [-1, 1]."""
        x = whole.halfway(lambda: through(self.down, self.conv_in(haar(images, self.patch))))
        x = through(self.mid_block, x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Decoder(whole.Halved, nn.Module):
    """Code to image; ``up.0`` is the highest resolution, as in the published files."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, groups = config.decoder_widths, config.norm_groups
        inputs, self.patch = widths[-1], config.patch
        self.conv_in = nn.Conv2d(config.z_channels, inputs, 3, padding=1)
        self.mid_block = nn.ModuleList(ResBlock(inputs, inputs, groups, design="magvit2") for _ in range(config.num_res_blocks))
        levels: list[Level] = []
        adaptive: list[AdaptiveNorm] = []
        for i in reversed(range(len(widths))):
            adaptive.insert(0, AdaptiveNorm(inputs, config.z_channels, groups))
            upsample = DepthToSpace if i > 0 else None
            levels.insert(0, Level(inputs, widths[i], config.blocks_of_decoder(i), groups, design="magvit2", upsample=upsample))
            inputs = widths[i]
        self.up, self.adaptive = nn.ModuleList(levels), nn.ModuleList(adaptive)
        self.norm_out = Norm(groups, inputs, eps=1e-6)
        self.conv_out = nn.Conv2d(inputs, 3 * config.patch**2, 3, padding=1)

    def forward(self, code: Float[Tensor, "b z h w"]) -> Float[Tensor, "b 3 h2 w2"]:
        """Decode a code; values may leave [-1, 1]."""
        x = whole.halfway(lambda: through(self.mid_block, self.conv_in(code)))
        for adapt, level in zip(reversed(self.adaptive), reversed(self.up), strict=True):
            x = level(adapt(x, code))
        return from_haar(self.conv_out(F.silu(self.norm_out(x))), self.patch)

    @property
    def last_weight(self) -> Tensor:
        """The weight at which adversarial training balances its gradients."""
        return self.conv_out.weight
