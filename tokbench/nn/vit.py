"""The trunk of a vision transformer: tokens in, tokens out. What the tokens are, and where they stand, is said by who uses it.

    tokens [B, N, W] -> norm -> blocks: + attention of norm, + MLP of norm -> tokens that are wanted -> norm -> tokens [B, M, W]
                                            |                    |
    condition [B, L, C], if any, ---- scale and shift of the last L normalised tokens

Papers: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021. The normalisation before the blocks: Radford et al., "Learning
Transferable Visual Models From Natural Language Supervision" (CLIP), 2021. Later kinds: Zhang and Sennrich, "Root Mean Square Layer
Normalization", 2019; Shazeer, "GLU Variants Improve Transformer", 2020; Touvron et al., "Going deeper with Image Transformers", 2021
(scaled blocks). Conditions: Zheng et al., "MoVQ: Modulating Quantized Vectors for High-Fidelity Image Generation", 2022. Parameter names are
those of openai/CLIP ``clip/model.py`` and its followers, whose attention packs its three projections into one matrix.
``tokbench.weights.key_maps.vit`` turns timm's into them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.linear import Linear
from tokbench.nn.configs import ViTConfig

Turn = Callable[[Tensor], Tensor]
"""Turns the channels of queries and of keys ``[B, heads, N, D]`` by the place of each token."""


def _norm(config: ViTConfig, condition: int = 0) -> nn.Module:
    kind = nn.RMSNorm if config.norm == "rms" else nn.LayerNorm
    return kind(config.width, eps=config.norm_eps, elementwise_affine=not condition)


class Attention(nn.Module):
    """Self-attention of all tokens; queries, keys and values come of one packed projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * width, width)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = Linear(width, width)

    def forward(self, x: Float[Tensor, "b n w"], turn: Turn | None = None) -> Float[Tensor, "b n w"]:
        """Mix tokens, whose queries and keys are turned where ``turn`` is given."""
        packed = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = rearrange(packed, "b n (three heads d) -> three b heads n d", three=3, heads=self.heads)
        if turn is not None:
            q, k = turn(q), turn(k)
        return self.out_proj(rearrange(F.scaled_dot_product_attention(q, k, v), "b heads n d -> b n (heads d)"))


class SwiGLU(nn.Module):
    """An MLP whose hidden values are gated; both halves come of one packed projection."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w12 = Linear(width, 2 * hidden)
        self.w3 = Linear(hidden, width)

    def forward(self, x: Float[Tensor, "b n w"]) -> Float[Tensor, "b n w"]:
        """Transform every token by itself."""
        gate, values = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * values)


def _mlp(width: int, hidden: int) -> nn.Module:
    return nn.Sequential(OrderedDict(c_fc=Linear(width, hidden), gelu=nn.GELU(), c_proj=Linear(hidden, width)))


class Block(nn.Module):
    """Attention, then an MLP, each of normalised tokens and added to them.

    Args:
        config: Width and heads.
        condition: Values of the condition that scales and shifts normalised tokens; 0 gives normalisations weights of their own.
    """

    def __init__(self, config: ViTConfig, condition: int = 0) -> None:
        super().__init__()
        width = config.width
        self.ln_1 = _norm(config, condition)
        self.attn = Attention(width, config.heads)
        self.ln_2 = _norm(config, condition)
        self.mlp = _mlp(width, config.hidden) if config.mlp == "gelu" else SwiGLU(width, config.hidden)
        self.ls_1 = nn.Parameter(torch.ones(width)) if config.layer_scale else None
        self.ls_2 = nn.Parameter(torch.ones(width)) if config.layer_scale else None
        self.modulation = nn.Sequential(nn.SiLU(), Linear(condition, 4 * width)) if condition else None

    def forward(
        self, x: Float[Tensor, "b n w"], turn: Turn | None = None, condition: Float[Tensor, "b l c"] | None = None
    ) -> Float[Tensor, "b n w"]:
        """Transform tokens, the last of which have a condition where blocks take one."""
        attended, bent = (None, None) if self.modulation is None else self.modulation(condition).chunk(2, dim=-1)
        x = x + _scaled(self.attn(_modulated(self.ln_1(x), attended), turn), self.ls_1)
        return x + _scaled(self.mlp(_modulated(self.ln_2(x), bent)), self.ls_2)


def _modulated(x: Float[Tensor, "b n w"], by: Float[Tensor, "b l w2"] | None) -> Float[Tensor, "b n w"]:
    """Scale and shift the last tokens, as many as there are shifts and scales."""
    if by is None:
        return x
    shift, scale = by.chunk(2, dim=-1)
    before, last = x.split([x.shape[1] - by.shape[1], by.shape[1]], dim=1)
    return torch.cat([before, last * scale + shift], dim=1)


def _scaled(x: Tensor, factors: Tensor | None) -> Tensor:
    return x if factors is None else x * factors


class ViT(nn.Module):
    """Blocks between two normalisations, or before one; who has tokens to embed derives from it.

    Args:
        config: Width, depth and heads.
        condition: As of ``Block``; the tokens that are wanted have none.
    """

    def __init__(self, config: ViTConfig, condition: int = 0) -> None:
        super().__init__()
        self.ln_pre = _norm(config) if config.norm_first else nn.Identity()
        self.transformer = nn.ModuleList(Block(config, condition) for _ in range(config.depth))
        self.ln_post = _norm(config, condition)

    def transform(
        self,
        tokens: Float[Tensor, "b n w"],
        wanted: slice = slice(None),
        turn: Turn | Sequence[Turn] | None = None,
        condition: Float[Tensor, "b l c"] | None = None,
    ) -> Float[Tensor, "b m w"]:
        """Run the blocks.

        Args:
            tokens: With their positions.
            wanted: Places of the tokens to return.
            turn: Turns queries and keys by the places of their tokens, if any does; one, or one a block.
            condition: What scales and shifts the last tokens, where blocks take one.
        """
        x = self.ln_pre(tokens)
        turns = turn if isinstance(turn, Sequence) else [turn] * len(self.transformer)
        for block, own in zip(self.transformer, turns, strict=True):
            x = block(x, own, condition)
        return self.ln_post(x[:, wanted])


def learned(*shape: int) -> nn.Parameter:
    """A token or positions to learn, random at the scale of one over the root of the width, the last of ``shape``."""
    return nn.Parameter(torch.randn(*shape) * shape[-1] ** -0.5)
