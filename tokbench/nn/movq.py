"""MoVQ autoencoder for video, on stills: VQGAN's network with causal convolutions over time around the codes, and a decoder
whose normalisations take scale and shift from the code vectors.

    image [B, 3, H, W]
      | conv_in, down_block, middle_block, norm_out, swish, conv_out     once, since the frames of a still are alike
    features [B, z, H/f, W/f]
      | repeated over T frames
      | time_conv        convolutions of stride 2 over time, from T frames to one
      | time_res_stack   residual blocks over time
    features [B, z, 1, H/f, W/f]

    latents and code vectors, each [B, z, 1, H/f, W/f]
      | time_res_stack, time_conv     the same layers for both, from one frame to T
      | first frame                   frames meet no more, so only the one that is kept goes on
      | conv_in, middle_block, up_block, norm_out, swish, conv_out       every normalisation sees the code vectors
    image [B, 3, H, W]                not clamped

Parameter names are those of ``Emu3VQVAE`` in huggingface/transformers. Sources: Zheng et al., "MoVQ: Modulating Quantized
Vectors for High-Fidelity Image Generation", 2022; Wang et al., "Emu3: Next-Token Prediction is All You Need", 2024.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.linear import Linear
from tokbench.nn import whole
from tokbench.nn.autoencoder import Downsample, Norm, Upsample
from tokbench.nn.configs import AutoencoderConfig


class CausalConv3d(nn.Module):
    """Convolution over time and space that sees no later frame: all zero frames it needs stand before the first.

    Args:
        inputs: Channels.
        outputs: Channels.
        kernel: Size over time, height and width.
        stride: Over time.
    """

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int, int], *, stride: int = 1) -> None:
        super().__init__()
        self.before = kernel[0] - stride
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride=(stride, 1, 1), padding=(0, kernel[1] // 2, kernel[2] // 2))

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d t2 h w"]:
        """Convolve; ``t / stride`` frames come out."""
        return self.conv(F.pad(x, (0, 0, 0, 0, self.before, 0)))


class TemporalBlock(nn.Module):
    """Batch normalisation, swish, causal 3x3x3 convolution, twice, around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm3d(channels)
        self.conv1 = CausalConv3d(channels, channels, (3, 3, 3))
        self.norm2 = nn.BatchNorm3d(channels)
        self.conv2 = CausalConv3d(channels, channels, (3, 3, 3))

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t h w"]:
        """Transform features, keeping their size."""
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


class TemporalDownsample(nn.Module):
    """Halve the number of frames by a causal convolution; swish."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = CausalConv3d(channels, channels, (4, 3, 3), stride=2)

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t2 h w"]:
        """Return half as many frames."""
        return F.silu(self.conv(x))


class TemporalUpsample(nn.Module):
    """Show every frame twice, then a causal convolution; swish."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = CausalConv3d(channels, channels, (3, 3, 3))

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t2 h w"]:
        """Return twice as many frames."""
        return F.silu(self.conv(x.repeat_interleave(2, dim=2)))


class PlainNorm(Norm):
    """Group normalisation that takes and ignores a condition, so that the encoder shares the decoder's blocks."""

    def forward(self, input: Float[Tensor, "b c h w"], condition: Tensor | None = None) -> Float[Tensor, "b c h w"]:
        """Normalise features, keeping their size."""
        return super().forward(input)


class SpatialNorm(nn.Module):
    """Group normalisation, then a scale and a shift for every place, linear in the condition at that place.

    Source: Zheng et al. 2022, spatially conditional normalization; here with 1x1 convolutions.
    """

    def __init__(self, condition: int, channels: int, groups: int) -> None:
        super().__init__()
        self.norm_layer = PlainNorm(groups, channels, eps=1e-6)
        self.conv_y = nn.Conv2d(condition, channels, 1)
        self.conv_b = nn.Conv2d(condition, channels, 1)

    def forward(self, x: Float[Tensor, "b c h w"], condition: Float[Tensor, "b d h2 w2"]) -> Float[Tensor, "b c h w"]:
        """Normalise; a condition coarser than the features holds for the square of places it covers.

        A 1x1 convolution commutes with that nearest-neighbour enlargement, so scale and shift stay at the condition's size.
        """
        scale, shift = (rearrange(conv(condition), "b c h w -> b c h 1 w 1") for conv in (self.conv_y, self.conv_b))
        height, width = condition.shape[2:]
        h = rearrange(self.norm_layer(x), "b c (h i) (w j) -> b c h i w j", h=height, w=width)
        return rearrange(torch.addcmul(shift, h, scale), "b c h i w j -> b c (h i) (w j)")


def _norm(condition: int, channels: int, groups: int) -> nn.Module:
    return SpatialNorm(condition, channels, groups) if condition else PlainNorm(groups, channels, eps=1e-6)


class Block(nn.Module):
    """norm, swish, 3x3 convolution, twice; a 1x1 shortcut where the width changes."""

    def __init__(self, inputs: int, outputs: int, groups: int, condition: int) -> None:
        super().__init__()
        self.norm1 = _norm(condition, inputs, groups)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = _norm(condition, outputs, groups)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Float[Tensor, "b c h w"], condition: Tensor | None) -> Float[Tensor, "b d h w"]:
        """Transform features, keeping their size."""
        h = self.conv1(F.silu(self.norm1(x, condition)))
        h = self.conv2(F.silu(self.norm2(h, condition)))
        return (x if self.nin_shortcut is None else self.nin_shortcut(x)) + h


class Attention(nn.Module):
    """Self-attention over all places, with linear projections; normalisation and shortcut are the caller's."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = Linear(channels, channels)
        self.v_proj = Linear(channels, channels)
        self.q_proj = Linear(channels, channels)
        self.out_proj = Linear(channels, channels)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Mix places, keeping size and width."""
        places = rearrange(x, "b c h w -> b (h w) c")
        q, k, v = (rearrange(proj(places), "b l (n d) -> b n l d", n=self.heads) for proj in (self.q_proj, self.k_proj, self.v_proj))
        mixed = rearrange(whole.attend(q, k, v), "b n l d -> b l (n d)")
        return rearrange(self.out_proj(mixed), "b (h w) c -> b c h w", h=x.shape[2])


class Level(nn.Module):
    """Blocks of one resolution, each followed by attention where the level has it, then the way to the next level."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        blocks: int,
        groups: int,
        heads: int,
        condition: int = 0,
        downsample: bool = False,
        upsample: bool = False,
    ) -> None:
        super().__init__()
        attentions = blocks if heads else 0
        self.block = nn.ModuleList(Block(inputs if i == 0 else outputs, outputs, groups, condition) for i in range(blocks))
        self.attn = nn.ModuleList(Attention(outputs, heads) for _ in range(attentions))
        self.attn_norms = nn.ModuleList(_norm(condition, outputs, groups) for _ in range(attentions))
        self.downsample = Downsample(outputs) if downsample else None
        self.upsample = Upsample(outputs) if upsample else None

    def forward(self, x: Float[Tensor, "b c h w"], condition: Tensor | None = None) -> Float[Tensor, "b d h2 w2"]:
        """Transform features and resample them."""
        for i, block in enumerate(self.block):
            x = block(x, condition)
            if len(self.attn):
                x = x + self.attn[i](self.attn_norms[i](x, condition))
        for resample in (self.downsample, self.upsample):
            x = x if resample is None else resample(x)
        return x


class Middle(nn.Module):
    """Block, attention, block at the lowest resolution."""

    def __init__(self, channels: int, *, groups: int, heads: int, condition: int = 0) -> None:
        super().__init__()
        self.block_1 = Block(channels, channels, groups, condition)
        self.attn_1 = Attention(channels, heads)
        self.attn_norm = _norm(condition, channels, groups)
        self.block_2 = Block(channels, channels, groups, condition)

    def forward(self, x: Float[Tensor, "b c h w"], condition: Tensor | None = None) -> Float[Tensor, "b c h w"]:
        """Transform features, keeping their size."""
        x = self.block_1(x, condition)
        x = x + self.attn_1(self.attn_norm(x, condition))
        return self.block_2(x, condition)


class DownBlock(nn.Module):
    """Levels of the encoder, highest resolution first."""

    def __init__(self, config: AutoencoderConfig, heads: int) -> None:
        super().__init__()
        self.down = nn.ModuleList()
        inputs, last = config.channels, len(config.widths) - 1
        for i, width in enumerate(config.widths):
            here = heads if config.has_attention(i) else 0
            level = Level(inputs, width, blocks=config.num_res_blocks, groups=config.norm_groups, heads=here, downsample=i < last)
            self.down.append(level)
            inputs = width

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Return features of the lowest resolution."""
        for level in self.down:
            x = level(x)
        return x


class UpBlock(nn.Module):
    """Levels of the decoder; ``up.0`` is the highest resolution."""

    def __init__(self, config: AutoencoderConfig, heads: int) -> None:
        super().__init__()
        self.up = nn.ModuleList()
        inputs, blocks, z = config.widths[-1], config.num_res_blocks + 1, config.z_channels
        for i, width in reversed(list(enumerate(config.widths))):
            here = heads if config.has_attention(i) else 0
            level = Level(inputs, width, blocks=blocks, groups=config.norm_groups, heads=here, condition=z, upsample=i > 0)
            self.up.insert(0, level)
            inputs = width

    def forward(self, x: Float[Tensor, "b c h w"], condition: Float[Tensor, "b z h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Return features of the highest resolution."""
        for level in reversed(list(self.up)):
            x = level(x, condition)
        return x


class Encoder(whole.Halved, nn.Module):
    """Image to features.

    Args:
        config: Shape of the network; it emits ``z_channels``.
        frames: Copies of a still that make a clip, a power of two.
        heads: Heads of every attention.
    """

    def __init__(self, config: AutoencoderConfig, *, frames: int, heads: int) -> None:
        super().__init__()
        self.frames = frames
        groups, z, width = config.norm_groups, config.z_channels, config.widths[-1]
        self.conv_in = nn.Conv2d(3, config.channels, 3, padding=1)
        self.down_block = DownBlock(config, heads)
        self.middle_block = Middle(width, groups=groups, heads=heads)
        self.norm_out = PlainNorm(groups, width, eps=1e-6)
        self.conv_out = nn.Conv2d(width, z, 3, padding=1)
        self.time_conv = nn.Sequential(*(TemporalDownsample(z) for _ in range(frames.bit_length() - 1)))
        self.time_res_stack = nn.Sequential(*(TemporalBlock(z) for _ in range(config.num_res_blocks)))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b z 1 h2 w2"]:
        """Encode images in [-1, 1]."""
        x = self.middle_block(whole.halfway(lambda: self.down_block(self.conv_in(images))))
        x = self.conv_out(F.silu(self.norm_out(x)))
        clip = x.unsqueeze(2).expand(-1, -1, self.frames, -1, -1)
        return self.time_res_stack(self.time_conv(clip))


class Decoder(whole.Halved, nn.Module):
    """Latents and code vectors to image.

    Args:
        config: Shape of the network; latents and code vectors have ``z_channels``.
        frames: As in ``Encoder``.
        heads: Heads of every attention.
    """

    def __init__(self, config: AutoencoderConfig, *, frames: int, heads: int) -> None:
        super().__init__()
        groups, z, widths = config.norm_groups, config.z_channels, config.widths
        self.time_res_stack = nn.Sequential(*(TemporalBlock(z) for _ in range(config.num_res_blocks)))
        self.time_conv = nn.Sequential(*(TemporalUpsample(z) for _ in range(frames.bit_length() - 1)))
        self.conv_in = nn.Conv2d(z, widths[-1], 3, padding=1)
        self.middle_block = Middle(widths[-1], groups=groups, heads=heads, condition=z)
        self.up_block = UpBlock(config, heads)
        self.norm_out = SpatialNorm(z, widths[0], groups)
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, latents: Float[Tensor, "b z 1 h w"], vectors: Float[Tensor, "b z 1 h w"]) -> Float[Tensor, "b 3 h2 w2"]:
        """Decode.

        Args:
            latents: What is drawn.
            vectors: Code vectors, the condition of every normalisation.

        Returns:
            Images; values may leave [-1, 1].
        """
        clips = self.time_conv(self.time_res_stack(torch.cat([latents, vectors])))
        drawn, condition = clips[:, :, 0].chunk(2)
        x = whole.halfway(lambda: self.middle_block(self.conv_in(drawn), condition))
        x = self.up_block(x, condition)
        return self.conv_out(F.silu(self.norm_out(x, condition)))
