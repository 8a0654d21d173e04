"""Configurations of the networks: plain data that can be read, listed and compared without importing torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, get_args

from tokbench.configs import UNLESS_DEFAULT

Norm = Literal["group", "rms"]
"""What an autoencoder normalises over: groups of channels of the whole map, or the channels of each place."""

Design = Literal["taming", "maskgit", "magvit2"]
"""Whose blocks and levels an autoencoder has, see ``AutoencoderConfig``; those of Open-MAGVIT2 are in ``tokbench.nn.magvit2``."""

TokenNorm = Literal["layer", "rms"]
"""What a transformer takes off its tokens: mean and deviation, or the root mean square alone."""

MLP = Literal["gelu", "swiglu"]
"""How a transformer's MLP bends: by the Gaussian error linear unit, or by one half of its hidden values gating the other."""

Places = Literal["diagonal", "grid"]
"""Where the code tokens of a double-stream transformer stand, see ``tokbench.nn.mmdit.code_positions``."""


@dataclass(frozen=True)
class AutoencoderConfig:
    """Shape of the encoder and the decoder.

    Args:
        z_channels: Channels of the encoder's output and the decoder's input.
        channels: Width of the first level; every level's width is a multiple of it.
        channel_multipliers: One factor a level, highest resolution first; the stride is ``2 ** (levels - 1)``.
        num_res_blocks: Residual blocks a level in the encoder; the decoder has one more, but for the design ``maskgit``.
        attn_resolutions: Levels that get attention, named by the feature size they have for an image of ``resolution``.
        resolution: The image size ``attn_resolutions`` refers to; it restricts nothing else.
        double_z: Whether the encoder emits mean and log-variance.
        mid_attention: Whether the lowest level's middle has an attention block.
        norm_groups: Groups of every normalisation; published networks have 32. A group of one channel forgets that channel's
            mean and contrast, so narrow networks want fewer.
        norm: ``group`` normalises over the whole map, as published networks do, so what is far away acts on every place. ``rms`` divides
            the channels of a place by their root mean square, place by place.
        local_levels: How many of the encoder's lowest levels, with its middle, look at one place alone (1x1 convolutions for 3x3 ones).
            Codes then tell of the pixels around them, and stay as they are where an image is changed elsewhere.
        design: ``taming`` is that of VQGAN. With ``maskgit``, convolutions of blocks and of the encoder's input have no bias. Where the
            width changes, the 1x1 shortcut reads what the block made, not what it was given. The middle has as many blocks as a level,
            not two, and the decoder no more than the encoder. The encoder's last convolution is 1x1. ``magvit2`` has no attention and
            as many blocks a level in the decoder as in the encoder.
        pooled: Whether the encoder halves maps by the mean of 2x2 places, not by a convolution.
        patch: Side of the squares of pixels that a Haar transform makes channels of before the first level; a power of two.
        halvings: How many of the steps between levels halve the size: the encoder's first, the decoder's first. None means all.
        encoder_blocks: Residual blocks of each level of the encoder, where levels differ; empty means ``num_res_blocks``.
        decoder_blocks: The same of the decoder, highest resolution first; empty means as ``num_res_blocks`` says.
        decoder_multipliers: Factors of the decoder's widths, where they are not those of the encoder.

    Raises:
        ValueError: If a number is not positive (``local_levels`` may be 0), there are not so many levels, or a width is not a multiple of
            the normalisation groups. Also if the design is unknown or has no such layers, or the patch is no power of two.
    """

    z_channels: int
    channels: int = 128
    channel_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_res_blocks: int = 2
    attn_resolutions: tuple[int, ...] = (16,)
    resolution: int = 256
    double_z: bool = False
    mid_attention: bool = True
    norm_groups: int = 32
    norm: Norm = field(default="group", metadata=UNLESS_DEFAULT)
    local_levels: int = field(default=0, metadata=UNLESS_DEFAULT)
    design: Design = field(default="taming", metadata=UNLESS_DEFAULT)
    pooled: bool = field(default=False, metadata=UNLESS_DEFAULT)
    patch: int = field(default=1, metadata=UNLESS_DEFAULT)
    halvings: int | None = field(default=None, metadata=UNLESS_DEFAULT)
    encoder_blocks: tuple[int, ...] = field(default=(), metadata=UNLESS_DEFAULT)
    decoder_blocks: tuple[int, ...] = field(default=(), metadata=UNLESS_DEFAULT)
    decoder_multipliers: tuple[int, ...] = field(default=(), metadata=UNLESS_DEFAULT)

    def __post_init__(self) -> None:
        by_level = (self.encoder_blocks, self.decoder_blocks, self.decoder_multipliers)
        numbers = (self.z_channels, self.channels, self.num_res_blocks, self.resolution, self.norm_groups, *self.channel_multipliers)
        if not self.channel_multipliers or min((*numbers, *sum(by_level, ()))) < 1:
            raise ValueError(f"channels, blocks, groups and at least one channel multiplier must be positive, got {self}")
        if any(width % self.norm_groups for width in (*self.widths, *self.decoder_widths)):
            widths = self.widths if self.widths == self.decoder_widths else (*self.widths, *self.decoder_widths)
            raise ValueError(f"every level's width must be a multiple of norm_groups={self.norm_groups}, got {widths}")
        levels = len(self.channel_multipliers)
        if any(listed and len(listed) != levels for listed in by_level):
            raise ValueError(f"encoder_blocks, decoder_blocks and decoder_multipliers have {levels} numbers, one a level, or none")
        if not 0 <= self.steps <= levels:
            raise ValueError(f"halvings is 0 to {levels}, the levels there are, got {self.halvings}")
        if self.patch < 1 or self.patch & (self.patch - 1):
            raise ValueError(f"patch must be a power of two, got {self.patch}")
        if self.design not in get_args(Design):
            raise ValueError(f"design is {' or '.join(get_args(Design))}, got {self.design!r}")
        if self.design == "magvit2" and (
            self.pooled
            or self.attn_resolutions
            or self.mid_attention
            or self.local_levels
            or self.norm != "group"
            or self.steps != levels - 1
        ):
            raise ValueError(
                "design=magvit2 has no attention, groups of channels, and halves between all levels: it needs attn_resolutions=() and "
                "mid_attention=False, and norm, local_levels, pooled and halvings as they are"
            )
        if not 0 <= self.local_levels <= len(self.channel_multipliers):
            raise ValueError(f"local_levels is 0 to {len(self.channel_multipliers)}, the levels there are, got {self.local_levels}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of every level, highest resolution first."""
        return tuple(self.channels * factor for factor in self.channel_multipliers)

    @property
    def decoder_widths(self) -> tuple[int, ...]:
        """Channels of every level of the decoder, highest resolution first."""
        return tuple(self.channels * factor for factor in self.decoder_multipliers or self.channel_multipliers)

    @property
    def steps(self) -> int:
        """How many steps halve the size in the encoder, and double it in the decoder."""
        return len(self.channel_multipliers) - 1 if self.halvings is None else self.halvings

    @property
    def stride(self) -> int:
        """Image pixels per feature along each axis."""
        return self.patch * 2**self.steps

    def check_design(self) -> None:
        """For tokenizers that build ``tokbench.nn.autoencoder`` alone.

        Raises:
            ValueError: If the design is ``magvit2``.
        """
        if self.design == "magvit2":
            raise ValueError("design=magvit2 is of tokenizers that have but codes; take taming or maskgit here")

    def has_attention(self, level: int) -> bool:
        """Whether the blocks of a level of the encoder are followed by attention."""
        return self.resolution // self.patch // 2 ** min(level, self.steps) in self.attn_resolutions

    def decoder_has_attention(self, level: int) -> bool:
        """Whether those of the decoder are; it counts sizes up from what they would be if all steps halved, rounded down at the lowest."""
        last = len(self.channel_multipliers) - 1
        return self.resolution // self.patch // 2**last * 2 ** min(last - level, self.steps) in self.attn_resolutions

    def blocks(self, level: int) -> int:
        """Residual blocks of a level of the encoder."""
        return self.encoder_blocks[level] if self.encoder_blocks else self.num_res_blocks

    def blocks_of_decoder(self, level: int) -> int:
        """Residual blocks of a level of the decoder."""
        if self.decoder_blocks:
            return self.decoder_blocks[level]
        return self.num_res_blocks + (self.design == "taming")


@dataclass(frozen=True)
class WanNetworkConfig:
    """Shape of the autoencoder of Wan and Qwen-Image on stills.

    Args:
        z_channels: Latent channels.
        channels: Width of the encoder's first level; every level's width is a multiple of it.
        decoder_channels: That of the decoder, where it is another one.
        channel_multipliers: One factor a level, highest resolution first; the stride is ``patch * 2 ** (levels - 1)``.
        num_res_blocks: Residual blocks a level in the encoder; the decoder has one more.
        patch: Side of the squares of pixels that become channels before the first convolution.
        shortcuts: Whether averaging shortcuts lead around every level (Wan 2.2); without them, a step up halves the width.
        temporal: Which steps between levels halve the number of frames too, which its shortcuts show even of one frame.

    Raises:
        ValueError: If a number is not positive, ``temporal`` has not one value a step, or widths and shortcuts do not fit together.
    """

    z_channels: int = 16
    channels: int = 96
    decoder_channels: int | None = None
    channel_multipliers: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    patch: int = 1
    shortcuts: bool = False
    temporal: tuple[bool, ...] = (False, True, True)

    def __post_init__(self) -> None:
        numbers = (self.z_channels, self.channels, self.decoder_channels or 1, self.num_res_blocks, self.patch, *self.channel_multipliers)
        if not self.channel_multipliers or min(numbers) < 1:
            raise ValueError(f"channels, blocks, patch and at least one channel multiplier must be positive, got {self}")
        if len(self.temporal) != len(self.channel_multipliers) - 1:
            raise ValueError(f"temporal has one value a step between {len(self.channel_multipliers)} levels, got {self.temporal}")
        for width in (self.channels, self.decoder_channels or self.channels):
            widths = self.widths(width)
            for i, outputs in enumerate(widths):
                inputs = widths[max(i - 1, 0)]
                last = i == len(widths) - 1
                if self.shortcuts and (outputs % inputs or (inputs if last else 4 * inputs) % outputs):
                    raise ValueError(f"with shortcuts levels get up to four times as wide, the last is as the one before, got {widths}")
                if not self.shortcuts and i and outputs % 2:
                    raise ValueError(f"widths below the first level must be even, got {widths}")

    def widths(self, channels: int) -> tuple[int, ...]:
        """Channels of every level, highest resolution first, where the first is a multiple of ``channels``."""
        return tuple(channels * factor for factor in self.channel_multipliers)

    @property
    def stride(self) -> int:
        """Image pixels per latent along each axis."""
        return self.patch * 2 ** (len(self.channel_multipliers) - 1)


@dataclass(frozen=True)
class HunyuanNetworkConfig:
    """Shape of HunyuanImage's autoencoder.

    Args:
        z_channels: Latent channels.
        widths: Channels of every level, highest resolution first; the stride is ``2 ** (levels - 1)``.
        num_res_blocks: Residual blocks a level in the encoder; the decoder has one more.
        norm_groups: Groups of every normalisation.

    Raises:
        ValueError: If a number is not positive, or widths are no multiples of the groups, or do not fit latents and shortcuts.
    """

    z_channels: int = 64
    widths: tuple[int, ...] = (128, 256, 512, 512, 1024, 1024)
    num_res_blocks: int = 2
    norm_groups: int = 32

    def __post_init__(self) -> None:
        if not self.widths or min(self.z_channels, self.num_res_blocks, self.norm_groups, *self.widths) < 1:
            raise ValueError(f"latents, blocks, groups and at least one width must be positive, got {self}")
        if any(width % self.norm_groups or width % 4 for width in self.widths):
            raise ValueError(f"every width must be a multiple of 4 and of norm_groups={self.norm_groups}, got {self.widths}")
        if self.widths[-1] % (2 * self.z_channels):
            raise ValueError(
                f"the last width must be a multiple of {2 * self.z_channels}, twice the latent channels, got {self.widths[-1]}"
            )
        if any(4 * one % two or 4 * two % one for one, two in pairwise(self.widths)):
            raise ValueError(f"four times a width must be a multiple of its neighbours, got {self.widths}")

    @property
    def stride(self) -> int:
        """Image pixels per latent along each axis."""
        return 2 ** (len(self.widths) - 1)


@dataclass(frozen=True)
class MMDiTConfig:
    """Shape of a double-stream transformer over image patches and code tokens.

    Args:
        hidden: Width of both streams.
        heads: Attention heads.
        depth: Blocks.
        axes: Rotary dimensions for the three position axes (index, row, column); they sum to the head dimension.
        mlp_ratio: Width of the hidden layer of an MLP, in multiples of ``hidden``.
        theta: Base of the rotary frequencies.
        published: Whether to hold the parameters that the published checkpoints have and the network never uses.

    Raises:
        ValueError: If a number is not positive and finite, heads do not divide the width, or the axes are odd or do not fill a head.
    """

    hidden: int
    heads: int
    depth: int
    axes: tuple[int, int, int]
    mlp_ratio: float = 4.0
    theta: float = 10_000.0
    published: bool = False

    def __post_init__(self) -> None:
        if min(self.hidden, self.heads, self.depth, *self.axes) < 1:
            raise ValueError(f"widths, heads, depth and axes must be positive, got {self}")
        if not (0 < self.mlp_ratio < math.inf and 0 < self.theta < math.inf):
            raise ValueError(f"mlp_ratio and theta must be positive finite numbers, got {self}")
        if self.hidden % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.hidden}")
        if any(axis % 2 for axis in self.axes) or sum(self.axes) != self.head_dim:
            raise ValueError(f"axes must be even and sum to the head dimension {self.head_dim}, got {self.axes}")

    @property
    def head_dim(self) -> int:
        """Dimension of a head."""
        return self.hidden // self.heads


@dataclass(frozen=True)
class ViTConfig:
    """Shape of a vision transformer.

    Args:
        width: Values of a token.
        depth: Blocks.
        heads: Attention heads.
        patch_size: Side of the square patches in pixels.
        mlp_ratio: Width of the hidden layer of an MLP, in multiples of ``width``.
        norm_eps: Summand of the variance in every normalisation.
        norm: What normalises tokens.
        mlp: How MLPs bend. With ``swiglu`` each half has two thirds of ``mlp_ratio``, so that they have as many weights.
        hidden_multiple: What the hidden layer's width is rounded up to a multiple of.
        norm_first: Whether tokens are normalised before the first block.
        layer_scale: Whether what attention and MLPs add is scaled, with a factor a channel.

    Raises:
        ValueError: If a number is not positive, heads do not divide the width, or a normalisation or MLP is unknown.
    """

    width: int
    depth: int
    heads: int
    patch_size: int = 16
    mlp_ratio: float = 4.0
    norm_eps: float = 1e-5
    norm: TokenNorm = field(default="layer", metadata=UNLESS_DEFAULT)
    mlp: MLP = field(default="gelu", metadata=UNLESS_DEFAULT)
    hidden_multiple: int = field(default=1, metadata=UNLESS_DEFAULT)
    norm_first: bool = field(default=True, metadata=UNLESS_DEFAULT)
    layer_scale: bool = field(default=False, metadata=UNLESS_DEFAULT)

    def __post_init__(self) -> None:
        if self.norm not in get_args(TokenNorm) or self.mlp not in get_args(MLP):
            raise ValueError(f"norm is layer or rms and mlp is gelu or swiglu, got {self.norm!r} and {self.mlp!r}")
        numbers = (self.width, self.depth, self.heads, self.patch_size, self.hidden_multiple)
        if min(numbers) < 1 or not (0 < self.mlp_ratio < math.inf and 0 < self.norm_eps < 1):
            raise ValueError(f"width, depth, heads, patch_size, hidden_multiple, mlp_ratio and norm_eps must be positive, got {self}")
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width}")

    @property
    def hidden(self) -> int:
        """Values of an MLP's hidden layer, or of one half of it."""
        whole = int(self.width * self.mlp_ratio)
        hidden = whole if self.mlp == "gelu" else 2 * whole // 3
        return hidden + -hidden % self.hidden_multiple

    def grid(self, image_size: int) -> int:
        """Patches along a side of an image, in pixels.

        Raises:
            ValueError: If the patches do not fill it.
        """
        if image_size < 1 or image_size % self.patch_size:
            raise ValueError(f"image_size must be a multiple of the patch size {self.patch_size}, got {image_size}")
        return image_size // self.patch_size


def check_turned(encoder: ViTConfig, decoder: ViTConfig) -> None:
    """See that two transformers see the same patches, and can turn queries and keys by row and column.

    Args:
        encoder: The one that sees patches.
        decoder: The one that makes them.

    Raises:
        ValueError: If patches of both sides are not of one size, or the channels of a head cannot be shared by rows and columns.
    """
    if encoder.patch_size != decoder.patch_size:
        raise ValueError(f"patch_size must be one, got {encoder.patch_size} and {decoder.patch_size}")
    for side in (encoder, decoder):
        if side.width // side.heads % 4:
            raise ValueError(f"a head must have a multiple of 4 channels, got {side.width // side.heads}")
