"""The trunk of a vision transformer: tokens in, tokens out. What the tokens are, and where they stand, is said by who uses it.

    tokens [B, N, W] -> norm -> blocks: + attention of norm, + MLP of norm -> tokens that are wanted -> norm -> tokens [B, M, W]

Papers: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021. The normalisation before the blocks: Radford et al., "Learning
Transferable Visual Models From Natural Language Supervision" (CLIP), 2021. Later kinds: Zhang and Sennrich, "Root Mean Square Layer
Normalization", 2019; Shazeer, "GLU Variants Improve Transformer", 2020; Touvron et al., "Going deeper with Image Transformers", 2021
(scaled blocks). Parameter names are those of openai/CLIP ``clip/model.py`` and its followers, whose attention packs its three projections
into one matrix; ``tokbench.weights.key_maps.vit`` turns timm's into them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.nn.configs import ViTConfig

Turn = Callable[[Tensor], Tensor]
"""Turns the channels of queries and of keys ``[B, heads, N, D]`` by the place of each token."""


def _norm(config: ViTConfig) -> nn.Module:
    if config.norm == "rms":
        return nn.RMSNorm(config.width, eps=config.norm_eps)
    return nn.LayerNorm(config.width, eps=config.norm_eps)


class Attention(nn.Module):
    """Self-attention of all tokens; queries, keys and values come of one packed projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * width, width)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

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
        self.w12 = nn.Linear(width, 2 * hidden)
        self.w3 = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "b n w"]) -> Float[Tensor, "b n w"]:
        """Transform every token by itself."""
        gate, values = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * values)


def _mlp(width: int, hidden: int) -> nn.Module:
    return nn.Sequential(OrderedDict(c_fc=nn.Linear(width, hidden), gelu=nn.GELU(), c_proj=nn.Linear(hidden, width)))


class Block(nn.Module):
    """Attention, then an MLP, each of normalised tokens and added to them."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        width = config.width
        self.ln_1 = _norm(config)
        self.attn = Attention(width, config.heads)
        self.ln_2 = _norm(config)
        self.mlp = _mlp(width, config.hidden) if config.mlp == "gelu" else SwiGLU(width, config.hidden)
        self.ls_1 = nn.Parameter(torch.ones(width)) if config.layer_scale else None
        self.ls_2 = nn.Parameter(torch.ones(width)) if config.layer_scale else None

    def forward(self, x: Float[Tensor, "b n w"], turn: Turn | None = None) -> Float[Tensor, "b n w"]:
        """Transform tokens."""
        x = x + _scaled(self.attn(self.ln_1(x), turn), self.ls_1)
        return x + _scaled(self.mlp(self.ln_2(x)), self.ls_2)


def _scaled(x: Tensor, factors: Tensor | None) -> Tensor:
    return x if factors is None else x * factors


class ViT(nn.Module):
    """Blocks between two normalisations, or before one; who has tokens to embed derives from it.

    Args:
        config: Width, depth and heads.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.ln_pre = _norm(config) if config.norm_first else nn.Identity()
        self.transformer = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.ln_post = _norm(config)

    def transform(self, tokens: Float[Tensor, "b n w"], wanted: slice = slice(None), turn: Turn | None = None) -> Float[Tensor, "b m w"]:
        """Run the blocks.

        Args:
            tokens: With their positions.
            wanted: Places of the tokens to return.
            turn: Turns queries and keys by the places of their tokens, if any does.
        """
        x = self.ln_pre(tokens)
        for block in self.transformer:
            x = block(x, turn)
        return self.ln_post(x[:, wanted])


def learned(*shape: int) -> nn.Parameter:
    """A token or positions to learn, random at the scale of one over the root of the width, the last of ``shape``."""
    return nn.Parameter(torch.randn(*shape) * shape[-1] ** -0.5)
