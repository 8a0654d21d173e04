"""The convolutional autoencoder of VQGAN and latent diffusion, with the parameter names of its published checkpoints.

    image [B, 3, H, W]
      | conv_in
      | down.0 .. down.n-1   residual blocks (+ attention); stride-2 convolution between levels
      | mid                  block, attention, block
      | norm_out, swish, conv_out
    features [B, z_channels, H/f, W/f]           f = 2 ** (levels - 1)
      | ... the decoder mirrors it, with one more block a level and nearest-neighbour upsampling
    image [B, 3, H, W]                           not clamped

A Haar transform may pack squares of pixels into channels first, and fewer steps than levels may halve the size, as in NVIDIA's Cosmos.

On a processor and without gradients, large maps go through the same layers in strips (``infer`` beside ``forward``).

Source: Esser et al., "Taming Transformers for High-Resolution Image Synthesis" (VQGAN), CompVis/taming-transformers
``taming/modules/diffusionmodules/model.py``. The blocks of MaskGIT: Chang et al., "MaskGIT: Masked Generative Image Transformer",
bytedance/1d-tokenizer ``modeling/modules/maskgit_vqgan.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import takewhile

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.nn import whole
from tokbench.nn.configs import AutoencoderConfig, Design
from tokbench.nn.haar import from_haar, haar
from tokbench.nn.strips import STRIP, doubling_conv, halving_conv, normed_conv


class Norm(nn.GroupNorm):
    """Group normalisation; the base class refuses a single image of a single place where a group is one channel."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise features, keeping their size; those of a tile as ``whole`` says."""
        told = whole.moments(input, self.num_groups)
        if told is None:
            return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)
        scale, shift = whole.scale_and_shift(self, *told)
        return torch.addcmul(shift, input, scale)


class _PlaceNorm(nn.GroupNorm):
    """All channels of a place by their root mean square, with a scale and a shift a channel (Zhang and Sennrich 2019, with the shift)."""

    def forward(self, input: Tensor) -> Tensor:
        size = torch.rsqrt(input.float().square().mean(dim=1, keepdim=True) + self.eps)
        return (input * size * self.weight[:, None, None] + self.bias[:, None, None]).to(input.dtype)


class UnitNorm(nn.GroupNorm):
    """All channels of a place by their root mean square alone, with a scale a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels)
        self.register_parameter("bias", None)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise features ``[B, C, H, W]``; nothing is added to the root, so that it works at any magnitude."""
        exact = input if input.dtype == torch.float64 else input.float()
        return F.normalize(exact, dim=1).to(input.dtype) * self.num_channels**0.5 * self.weight[:, None, None]


UNIT = 0
"""In place of a number of groups: ``UnitNorm``."""


def _norm(channels: int, groups: int | None) -> nn.GroupNorm:
    """What normalises a map; without groups, every place by itself."""
    if groups == UNIT:
        return UnitNorm(channels)
    return _PlaceNorm(1, channels, eps=1e-6) if groups is None else Norm(groups, channels, eps=1e-6)


def _groups(config: AutoencoderConfig) -> int | None:
    return None if config.norm == "rms" else config.norm_groups


def _middle_blocks(config: AutoencoderConfig) -> int:
    return 2 if config.design == "taming" else config.num_res_blocks


def _conv3(inputs: int, outputs: int, *, local: bool = False, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, bias=bias) if local else nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)


class ResBlock(nn.Module):
    """norm, swish, 3x3 convolution (1x1 where it is local), twice; a 1x1 shortcut where the width changes.

    In MaskGIT's form convolutions have no bias. Its shortcut reads the second convolution's output, so where the width changes what came
    in is not added at all; published weights were trained so.
    """

    def __init__(self, inputs: int, outputs: int, groups: int | None, *, local: bool = False, design: Design = "taming") -> None:
        super().__init__()
        bias = design == "taming"
        self.local = local
        self.norm1 = _norm(inputs, groups)
        self.conv1 = _conv3(inputs, outputs, local=local, bias=bias)
        self.norm2 = _norm(outputs, groups)
        self.conv2 = _conv3(outputs, outputs, local=local, bias=bias)
        if inputs != outputs:
            self.nin_shortcut = nn.Conv2d(outputs if design == "maskgit" else inputs, outputs, 1, bias=bias)
        self.adds_itself = design == "maskgit" and inputs != outputs

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Transform features, keeping their size."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return (self.nin_shortcut(h if self.adds_itself else x) if hasattr(self, "nin_shortcut") else x) + h

    def infer(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Transform a large map, see ``strips``."""
        shortcut = self.nin_shortcut if hasattr(self, "nin_shortcut") else nn.Identity()
        h = normed_conv(x, self.norm1, self.conv1)
        if self.adds_itself:
            h = normed_conv(h, self.norm2, self.conv2, in_place=True)
            return shortcut(h).add_(h)
        return normed_conv(h, self.norm2, self.conv2, plus=lambda part: shortcut(x[part]), in_place=True)


class AttentionBlock(nn.Module):
    """Single-head self-attention over all positions, with 1x1 convolutions as projections."""

    def __init__(self, channels: int, groups: int | None) -> None:
        super().__init__()
        self.norm = _norm(channels, groups)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Mix positions, keeping size and width."""
        h = self.norm(x)
        q, k, v = (rearrange(proj(h), "b c h w -> b 1 (h w) c").contiguous() for proj in (self.q, self.k, self.v))
        out = whole.attend(q, k, v)  # scaled by c ** -0.5
        return x + self.proj_out(rearrange(out, "b 1 (h w) c -> b c h w", h=x.shape[2]))


class Downsample(nn.Module):
    """Halve the size: one zero column right and one row below, then an unpadded stride-2 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Return features of half the size."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


def _halving_mean(channels: int) -> nn.AvgPool2d:
    return nn.AvgPool2d(2)


class Upsample(nn.Module):
    """Double the size by nearest neighbour, then convolve, to another width where one is given."""

    def __init__(self, channels: int, outputs: int | None = None) -> None:
        super().__init__()
        self.conv = _conv3(channels, outputs or channels)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Return features of twice the size."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """Residual blocks of one resolution, each followed by attention where the level has it, then the way to the next level."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        blocks: int,
        groups: int | None,
        *,
        attention: bool = False,
        design: Design = "taming",
        local: bool = False,
        downsample: Callable[[int], nn.Module] | None = None,
        upsample: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        widths = [inputs, *[outputs] * blocks]
        self.block = nn.ModuleList(ResBlock(one, outputs, groups, local=local, design=design) for one in widths[:-1])
        self.attn = nn.ModuleList(AttentionBlock(outputs, groups) for _ in range(blocks if attention else 0))
        self.downsample = downsample(outputs) if downsample else None
        self.upsample = upsample(outputs) if upsample else None

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Transform features, and change their size on the way to the next level."""
        for i, block in enumerate(self.block):
            x = block(x)
            if len(self.attn):
                x = self.attn[i](x)
        for resample in (self.downsample, self.upsample):
            x = x if resample is None else resample(x)
        return x

    def infer(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Transform a large map, see ``strips``."""
        for i, block in enumerate(self.block):
            assert isinstance(block, ResBlock)
            x = block.infer(x)
            if len(self.attn):
                x = _in_turn(self.attn[i], x)
        if self.downsample is not None:
            return halving_conv(x, self.downsample.conv) if isinstance(self.downsample, Downsample) else self.downsample(x)
        return doubling_conv(x, self.upsample.conv) if isinstance(self.upsample, Upsample) else x


def through(parts: Iterable[nn.Module], x: Float[Tensor, "b c h w"], *, in_strips: bool = False) -> Float[Tensor, "b d h2 w2"]:
    """Take features through levels or blocks, one after another; with ``in_strips`` through levels as large maps go, see ``strips``."""
    for part in parts:
        if in_strips:
            assert isinstance(part, Level)
            x = part.infer(x)
        else:
            x = part(x)
    return x


class Middle(nn.Module):
    """Residual blocks ``block_1`` and so on at the lowest resolution, with attention after the first."""

    def __init__(
        self, channels: int, groups: int | None, *, attention: bool, design: Design = "taming", blocks: int = 2, local: bool = False
    ) -> None:
        super().__init__()
        self.blocks = blocks
        self.block_1 = ResBlock(channels, channels, groups, local=local, design=design)
        self.attn_1 = AttentionBlock(channels, groups) if attention else nn.Identity()
        for number in range(2, blocks + 1):
            self.add_module(f"block_{number}", ResBlock(channels, channels, groups, local=local, design=design))

    def _later(self) -> list[ResBlock]:
        return [getattr(self, f"block_{number}") for number in range(2, self.blocks + 1)]

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Transform features, keeping their size."""
        x = self.attn_1(self.block_1(x))
        for block in self._later():
            x = block(x)
        return x

    def infer(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Transform a large map, see ``strips``."""
        x = _in_turn(self.attn_1, self.block_1.infer(x))
        for block in self._later():
            x = block.infer(x)
        return x


class Encoder(whole.Halved, nn.Module):
    """Image to features; the output has ``2 * z_channels`` channels with ``double_z``."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, groups, design = config.widths, _groups(config), config.design
        self.patch = config.patch
        self.conv_in = _conv3(3 * config.patch**2, config.channels, bias=design == "taming")
        self.down = nn.ModuleList()
        inputs, halving = config.channels, _halving_mean if config.pooled else Downsample
        for i, width in enumerate(widths):
            attention, local = config.has_attention(i), i >= len(widths) - config.local_levels
            blocks, downsample = config.blocks(i), halving if i < config.steps else None
            self.down.append(Level(inputs, width, blocks, groups, attention=attention, design=design, local=local, downsample=downsample))
            inputs = width
        local = config.local_levels > 0
        self.mid = Middle(inputs, groups, attention=config.mid_attention, design=design, blocks=_middle_blocks(config), local=local)
        self.norm_out = _norm(inputs, groups)
        self.conv_out = _conv3(inputs, config.z_channels * (2 if config.double_z else 1), local=local or design == "maskgit")

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b z h2 w2"]:
        """Encode images in [-1, 1]."""
        pixels = haar(images, self.patch)
        if _takes_strips(self, pixels, scale=1):
            return self._infer(pixels)
        x = whole.halfway(lambda: through(self._halves[0], self.conv_in(pixels)))
        return self.conv_out(F.silu(self.norm_out(self.mid(through(self._halves[1], x)))))

    @property
    def _halves(self) -> tuple[list[nn.Module], list[nn.Module]]:
        """Levels before the first that attends, and the others."""
        return _split(self.down)

    def _infer(self, pixels: Tensor) -> Tensor:
        x = whole.halfway(lambda: through(self._halves[0], self.conv_in(_channels_last(pixels)), in_strips=True))
        x = self.mid.infer(through(self._halves[1], _channels_last(x), in_strips=True))
        if self.conv_out.kernel_size == (1, 1):  # strips convolve 3x3
            return self.conv_out(F.silu(self.norm_out(x.contiguous())))
        return normed_conv(x, self.norm_out, self.conv_out).contiguous()


class Decoder(whole.Halved, nn.Module):
    """Features to image; ``up.0`` is the highest resolution, as in the published files."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, groups, design = config.decoder_widths, _groups(config), config.design
        inputs = widths[-1]
        self.patch, self.scale = config.patch, 2**config.steps
        self.conv_in = _conv3(config.z_channels, inputs)
        self.mid = Middle(inputs, groups, attention=config.mid_attention, design=design, blocks=_middle_blocks(config))
        levels: list[Level] = []
        for i in reversed(range(len(widths))):
            blocks, attention = config.blocks_of_decoder(i), config.decoder_has_attention(i)
            upsample = Upsample if i >= len(widths) - config.steps else None
            level = Level(inputs, widths[i], blocks, groups, attention=attention, design=design, upsample=upsample)
            levels.insert(0, level)
            inputs = widths[i]
        self.up = nn.ModuleList(levels)
        self.norm_out = _norm(inputs, groups)
        self.conv_out = _conv3(inputs, 3 * config.patch**2)

    def forward(self, features: Float[Tensor, "b z h w"]) -> Float[Tensor, "b 3 h2 w2"]:
        """Decode features; values may leave [-1, 1]."""
        if _takes_strips(self, features, scale=self.scale):
            return from_haar(self._infer(features), self.patch)
        x = whole.halfway(lambda: through(self._halves[0], self.mid(self.conv_in(features))))
        return from_haar(self.conv_out(F.silu(self.norm_out(through(self._halves[1], x)))), self.patch)

    @property
    def _halves(self) -> tuple[list[nn.Module], list[nn.Module]]:
        """Levels up to the last that attends, lowest resolution first, and the others."""
        high, low = _split(self.up)
        return low[::-1], high[::-1]

    def _infer(self, features: Tensor) -> Tensor:
        x = whole.halfway(lambda: through(self._halves[0], self.mid.infer(self.conv_in(_channels_last(features))), in_strips=True))
        x = through(self._halves[1], _channels_last(x), in_strips=True)
        return normed_conv(x, self.norm_out, self.conv_out).contiguous()

    @property
    def last_weight(self) -> Tensor:
        """The weight at which adversarial training balances its gradients."""
        return self.conv_out.weight


_LAYERS = frozenset(
    {
        *(ResBlock, AttentionBlock, Downsample, Upsample, Level, Middle, Norm, Encoder, Decoder),
        *(nn.Conv2d, nn.AvgPool2d, nn.ModuleList, nn.Identity),
    }
)


def _split(levels: nn.ModuleList) -> tuple[list[nn.Module], list[nn.Module]]:
    """The levels before the first that attends, and the others."""
    first = list(takewhile(lambda level: not len(getattr(level, "attn", ())), levels))
    return first, list(levels)[len(first) :]


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _in_turn(attention: nn.Module, x: Tensor) -> Tensor:
    """Attend channels first: group normalisation of torch loses digits to means far from zero where channels are last."""
    return _channels_last(attention(x.contiguous()))


def _takes_strips(network: Encoder | Decoder, x: Tensor, *, scale: int) -> bool:
    """Whether to go by strips: on a processor, without gradients, with maps of more than one strip.

    Only ``forward`` of a layer honours that it was replaced, wrapped or is watched, and only it can be traced.

    Args:
        network: The encoder or the decoder.
        x: What it is given.
        scale: Rows and columns of its largest map, in those of ``x``.
    """
    width = network.norm_out.num_channels if isinstance(network, Decoder) else network.conv_in.out_channels
    images = x if whole.one_map() else x[:1]
    if torch.is_grad_enabled() or x.device.type != "cpu" or width * images.numel() // x.shape[1] * scale**2 <= STRIP:
        return False
    if x.dtype not in (torch.float32, torch.bfloat16) or torch.jit.is_tracing() or torch.compiler.is_compiling():
        return False
    return all(
        type(part) in _LAYERS
        and not (part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part))
        and not (isinstance(part, ResBlock) and part.local)  # strips convolve 3x3
        for part in network.modules()
        if part is not network
    )
