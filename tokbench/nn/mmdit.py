"""A double-stream transformer over image patches and code tokens (MMDiT), as FlowMo uses it for encoder and decoder.

    patches [B, N, P] -- img_in --+                       +-- final layer --> [B, N, P]
                                  |  double blocks:       |
                                  |  joint attention,     |
    code    [B, L, C] -- txt_in --+  an MLP a stream      +-- final layer --> [B, L, C]
                                         |
    times   [B] -- sinusoids, MLP -- shift, scale and gate of every block (left out without times)

Papers: Esser et al., "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis", 2024 (MMDiT); Sargent et al.,
"Flow to the Mode", 2025 (FlowMo). Parameter names are those of kylesargent/FlowMo ``flowmo/models.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.linear import Linear, gelu_of
from tokbench.nn.configs import MMDiTConfig, Places
from tokbench.sending import moved
from tokbench.tracing import plainly_computed

TIME_DIM = 256
TIME_SCALE = 1000.0
ATTENTION_SCALE = 8.0
"""Attention logits are scaled by this over the head dimension (muP), not by one over its square root."""

LOCAL_START = 1.5
"""Bias of queries and keys on the row and column axes of the most local head, see ``MMDiT.start_local``."""

Stream = Literal["image", "code"]


class Rotation(NamedTuple):
    """Cosines and sines of the rotary angles of every position, code tokens first: ``[L + N, head_dim / 2]`` each."""

    cos: Tensor
    sin: Tensor


Modulation = tuple[Tensor, ...]
"""Shift, scale and gate of the attention, then of the MLP: ``[T, 1, D]`` each."""


class Told(NamedTuple):
    """What a network makes of T times: their embedding, and how patches and code tokens are modulated in each block."""

    vec: Tensor
    blocks: list[tuple[Modulation, Modulation]]

    def each(self) -> Iterator[Told]:
        """Every time by itself, as one for a whole batch."""
        for i in range(len(self.vec)):
            one = slice(i, i + 1)
            yield Told(self.vec[one], [(tuple(x[one] for x in image), tuple(x[one] for x in code)) for image, code in self.blocks])


def code_positions(length: int, grid: tuple[int, int], places: Places) -> Float[Tensor, "l 3"]:
    """Where code tokens stand on the three axes (index, row, column), in double precision.

    Args:
        length: Code tokens.
        grid: Rows and columns of patches.
        places: ``diagonal`` puts token i at (i, i, i), as published. ``grid`` spreads the tokens over the image, at the centres of equal
            cells in reading order and index 0. So a token finds the patches around it by their distance.
    """
    index = torch.arange(length, dtype=torch.float64)
    if places == "diagonal":
        return index[:, None].expand(-1, 3)
    rows = max(side for side in range(1, math.isqrt(length) + 1) if length % side == 0)
    columns = length // rows
    row = (index.div(columns, rounding_mode="floor") + 0.5) * grid[0] / rows - 0.5
    column = (index.remainder(columns) + 0.5) * grid[1] / columns - 0.5
    return torch.stack([torch.zeros_like(index), row, column], dim=1)


def rotation(code: Float[Tensor, "l 3"], grid: tuple[int, int], config: MMDiTConfig, device: torch.device | None = None) -> Rotation:
    """Rotary angles of code tokens at given positions and of the patch in row r and column c at (0, r, c).

    Args:
        code: From ``code_positions``.
        grid: Rows and columns of patches.
        config: Axes and base.
        device: Where the result is wanted.
    """
    rows, columns = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in grid), indexing="ij")
    image = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).flatten(0, 1)
    positions = torch.cat([code, image])
    frequencies = (config.theta ** -(torch.arange(0, axis, 2, dtype=torch.float64) / axis) for axis in config.axes)
    angles = torch.cat([positions[:, i, None] * frequency for i, frequency in enumerate(frequencies)], dim=1)
    cosines, sines = angles.cos().float(), angles.sin().float()
    return Rotation(cosines, sines) if device is None else Rotation(moved(cosines, device), moved(sines, device))


def rotate(x: Float[Tensor, "b heads n d"], by: Rotation) -> Float[Tensor, "b heads n d"]:
    """Turn every pair of neighbouring channels by its position's angle, in single precision."""
    pairs = x.float().unflatten(-1, (-1, 2))
    if x.device.type != "mps" and plainly_computed(x, by.cos):  # in one pass; compilers know no complex numbers, nor do some devices
        turned = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * torch.complex(by.cos.float(), by.sin.float()))
        return turned.flatten(-2).to(x.dtype)
    even, odd = pairs.unbind(-1)
    turned = torch.stack([by.cos * even - by.sin * odd, by.sin * even + by.cos * odd], dim=-1)
    return turned.flatten(-2).to(x.dtype)


def time_features(times: Float[Tensor, " b"]) -> Float[Tensor, "b d"]:
    """Cosines, then sines, of 1000 times the time at 128 frequencies from 1 down to almost 1e-4."""
    half = TIME_DIM // 2
    frequencies = torch.exp(-math.log(10_000.0) * torch.arange(half, dtype=torch.float32, device=times.device) / half)
    angles = TIME_SCALE * times.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


class _TimeIn(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.in_layer = Linear(TIME_DIM, hidden)
        self.out_layer = Linear(hidden, hidden)

    def forward(self, times: Tensor) -> Tensor:
        return self.out_layer(F.silu(self.in_layer(time_features(times).to(self.in_layer.weight.dtype))))


class _Modulation(nn.Module):
    """Six vectors a stream: shift, scale and gate of the attention, then of the MLP. Gates start closed, as upstream's do."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.lin = Linear(hidden, 6 * hidden)
        with torch.no_grad():
            for tensor in (self.lin.weight, self.lin.bias):
                for gate in (2, 5):
                    tensor[gate * hidden : (gate + 1) * hidden].zero_()

    def forward(self, vec: Tensor) -> Modulation:
        return self.lin(F.silu(vec))[:, None].chunk(6, dim=-1)


class _Scale(nn.Module):
    """Root-mean-square normalisation of a head with a learned scale."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), x.shape[-1:], self.scale.float(), eps=1e-6)


class _QKNorm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query_norm = _Scale(dim)
        self.key_norm = _Scale(dim)


class _Attention(nn.Module):
    """One stream's projections; the attention itself is joint."""

    def __init__(self, config: MMDiTConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = Linear(config.hidden, 3 * config.hidden)
        self.norm = _QKNorm(config.head_dim)
        self.proj = Linear(config.hidden, config.hidden)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = rearrange(self.qkv(x), "b n (three heads d) -> three b heads n d", three=3, heads=self.heads)
        return self.norm.query_norm(q).to(v.dtype), self.norm.key_norm(k).to(v.dtype), v


class _MLP(nn.Sequential):
    """Linear, GELU, linear."""

    def forward(self, x: Tensor) -> Tensor:
        first, gelu, last = self
        found: Tensor = last(gelu_of(first, gelu, x))
        return found


def _mlp(config: MMDiTConfig) -> nn.Sequential:
    inner = int(config.hidden * config.mlp_ratio)
    return _MLP(Linear(config.hidden, inner), nn.GELU(approximate="tanh"), Linear(inner, config.hidden))


class DoubleBlock(nn.Module):
    """Joint attention of both streams, then an MLP for each; both modulated by the time's embedding if there is one.

    Args:
        config: Widths and heads.
        modulated: Whether it holds the modulation's parameters.
    """

    def __init__(self, config: MMDiTConfig, *, modulated: bool) -> None:
        super().__init__()
        if modulated:
            self.img_mod = _Modulation(config.hidden)
            self.txt_mod = _Modulation(config.hidden)
        self.img_attn = _Attention(config)
        self.txt_attn = _Attention(config)
        self.img_mlp = _mlp(config)
        self.txt_mlp = _mlp(config)

    def modulations(self, vec: Float[Tensor, "t d"]) -> tuple[Modulation, Modulation]:
        """How patches and code tokens are modulated at times, of their embeddings."""
        return self.img_mod(vec), self.txt_mod(vec)

    def forward(
        self,
        image: Float[Tensor, "b n d"],
        code: Float[Tensor, "b l d"],
        modulations: tuple[Modulation, Modulation] | None,
        by: Rotation,
        *,
        only: Stream | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Transform both streams.

        Args:
            image: Patch features.
            code: Code features.
            modulations: From ``modulations``, of one time an image or one for all.
            by: Rotary angles, code first.
            only: Leave the other stream as it came, because nothing reads it.
        """
        length = code.shape[1]
        image_mod, code_mod = modulations or (None, None)
        streams = [self.txt_attn.project(_modulated(code, code_mod, 0)), self.img_attn.project(_modulated(image, image_mod, 0))]
        q, k, v = (torch.cat(parts, dim=2) for parts in zip(*streams, strict=True))
        q, k = rotate(q, by), rotate(k, by)
        if only is not None:
            q = q[:, :, length:] if only == "image" else q[:, :, :length]
        out = F.scaled_dot_product_attention(q, k, v, scale=ATTENTION_SCALE / q.shape[-1])
        out = rearrange(out, "b heads n d -> b n (heads d)")
        if only != "code":
            mixed = out if only == "image" else out[:, length:]
            image = _finish(image, mixed, self.img_attn, self.img_mlp, image_mod)
        if only != "image":
            code = _finish(code, out[:, :length], self.txt_attn, self.txt_mlp, code_mod)
        return image, code


def _modulated(x: Tensor, mod: Modulation | None, first: int) -> Tensor:
    return _norm(x) if mod is None else (1 + mod[first + 1]) * _norm(x) + mod[first]


def _finish(x: Tensor, mixed: Tensor, attention: _Attention, mlp: nn.Module, mod: Modulation | None) -> Tensor:
    x = x + _gated(attention.proj(mixed), mod, 2)
    return x + _gated(mlp(_modulated(x, mod, 3)), mod, 5)


def _gated(x: Tensor, mod: Modulation | None, index: int) -> Tensor:
    return x if mod is None else mod[index] * x


class FinalLayer(nn.Module):
    """Normalise, modulate, normalise again, project. The second normalisation is upstream's and the weights expect it."""

    def __init__(self, hidden: int, outputs: int, *, modulated: bool) -> None:
        super().__init__()
        self.linear = Linear(hidden, outputs)
        if modulated:
            self.adaLN_modulation = nn.Sequential(nn.SiLU(), Linear(hidden, 2 * hidden))

    def forward(self, x: Float[Tensor, "b n d"], vec: Float[Tensor, "#b d"] | None) -> Float[Tensor, "b n o"]:
        """Project features to outputs."""
        if vec is not None:
            shift, scale = self.adaLN_modulation(vec)[:, None].chunk(2, dim=-1)
            x = (1 + scale) * _norm(x) + shift
        return self.linear(_norm(x))


class MMDiT(nn.Module):
    """The transformer with its way in and one way out.

    Args:
        config: Widths and depth.
        patch_dim: P, values of a patch.
        context_dim: C, values of a code token that comes in.
        out: Which stream is read.
        timed: Whether it is told a time.
    """

    def __init__(self, config: MMDiTConfig, *, patch_dim: int, context_dim: int, out: Stream, timed: bool) -> None:
        super().__init__()
        self.config, self.out, self.timed = config, out, timed
        self.img_in = Linear(patch_dim, config.hidden)
        self.txt_in = Linear(context_dim, config.hidden)
        modulated = timed or config.published
        if modulated:
            self.time_in = _TimeIn(config.hidden)
        self.double_blocks = nn.ModuleList(DoubleBlock(config, modulated=modulated) for _ in range(config.depth))
        if out == "image" or config.published:
            self.final_layer_img = FinalLayer(config.hidden, patch_dim, modulated=modulated)
        if out == "code" or config.published:
            self.final_layer_txt = FinalLayer(config.hidden, context_dim, modulated=modulated)

    @property
    def dtype(self) -> torch.dtype:
        """Number format of its weights."""
        return self.img_in.weight.dtype

    @torch.no_grad()
    def start_local(self) -> None:
        """Prepare fresh weights for code tokens that stand among the patches: attend nearby first, with open gates.

        A common bias of queries and keys, turned by its position, gives logits that fall with the distance. Heads get biases
        from ``LOCAL_START`` down to 0, so that some look around and some everywhere. From a published start, with closed
        gates and attention that is even over the image, small networks take many more steps to find what a token is for.
        """
        config = self.config
        blocks: Any = self.double_blocks
        for block in blocks:
            for attention in (block.img_attn, block.txt_attn):
                bias = attention.qkv.bias.view(3, config.heads, config.head_dim)
                bias[:2, :, config.axes[0] :] += torch.linspace(LOCAL_START, 0.0, config.heads)[:, None]
            if self.timed:
                for modulation in (block.img_mod, block.txt_mod):
                    modulation.lin.bias.view(6, config.hidden)[[2, 5]] = 1.0

    def embed(self, context: Float[Tensor, "b l c"]) -> Float[Tensor, "b l d"]:
        """Read code tokens, once for all times."""
        return self.txt_in(context)

    def tell(self, times: Float[Tensor, " t"]) -> Told:
        """Read times, those of a whole walk at once."""
        vec = self.time_in(times)
        blocks: Any = self.double_blocks
        return Told(vec, [block.modulations(vec) for block in blocks])

    def forward(
        self,
        patches: Float[Tensor, "b n p"],
        code: Float[Tensor, "b l d"],
        by: Rotation,
        times: Float[Tensor, "#b"] | Told | None = None,
    ) -> Float[Tensor, "b m o"]:
        """Transform both streams; return the outputs of the one it was built for.

        Args:
            patches: Image patches.
            code: Code tokens as ``embed`` returns them.
            by: Rotary angles from ``rotation``.
            times: In [0, 1], one an image or one for all, or what ``tell`` makes of them. Needed if and only if the network is timed.

        Raises:
            ValueError: If times are missing, or given to a network that takes none.
        """
        if (times is not None) != self.timed:
            raise ValueError("times are needed" if self.timed else "this network takes no times")
        told = self.tell(times) if isinstance(times, Tensor) else times
        vec = None if told is None else told.vec
        image = self.img_in(patches)
        for i, block in enumerate(self.double_blocks):
            modulations = None if told is None else told.blocks[i]
            image, code = block(image, code, modulations, by, only=self.out if i == len(self.double_blocks) - 1 else None)
        return self.final_layer_img(image, vec) if self.out == "image" else self.final_layer_txt(code, vec)


def patchify(images: Float[Tensor, "b c h w"], size: int) -> Float[Tensor, "b n p"]:
    """Cut images into square patches, rows first, channel fastest."""
    return rearrange(images, "b c (gh ph) (gw pw) -> b (gh gw) (ph pw c)", ph=size, pw=size)


def unpatchify(patches: Float[Tensor, "b n p"], size: int, grid: tuple[int, int]) -> Float[Tensor, "b c h w"]:
    """Undo ``patchify`` for a grid of patches."""
    return rearrange(patches, "b (gh gw) (ph pw c) -> b c (gh ph) (gw pw)", ph=size, pw=size, gh=grid[0], gw=grid[1])
