"""The trunk of a vision transformer: tokens in, tokens out. What the tokens are, and where they stand, is said by who uses it.

    tokens [B, N, W] -> norm -> blocks: + attention of norm, + MLP of norm -> tokens that are wanted -> norm -> tokens [B, M, W]

Papers: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021. The normalisation before the blocks: Radford et al., "Learning
Transferable Visual Models From Natural Language Supervision" (CLIP), 2021. Parameter names are those of openai/CLIP ``clip/model.py``
and its followers, whose attention packs its three projections into one matrix.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.nn.configs import ViTConfig


class Attention(nn.Module):
    """Self-attention of all tokens; queries, keys and values come of one packed projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * width, width)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "b n w"]) -> Float[Tensor, "b n w"]:
        """Mix tokens."""
        packed = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = rearrange(packed, "b n (three heads d) -> three b heads n d", three=3, heads=self.heads)
        return self.out_proj(rearrange(F.scaled_dot_product_attention(q, k, v), "b heads n d -> b n (heads d)"))


class Block(nn.Module):
    """Attention, then an MLP, each of normalised tokens and added to them."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        width, hidden = config.width, int(config.width * config.mlp_ratio)
        self.ln_1 = nn.LayerNorm(width, eps=config.norm_eps)
        self.attn = Attention(width, config.heads)
        self.ln_2 = nn.LayerNorm(width, eps=config.norm_eps)
        self.mlp = nn.Sequential(OrderedDict(c_fc=nn.Linear(width, hidden), gelu=nn.GELU(), c_proj=nn.Linear(hidden, width)))

    def forward(self, x: Float[Tensor, "b n w"]) -> Float[Tensor, "b n w"]:
        """Transform tokens."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class ViT(nn.Module):
    """Blocks between two normalisations; who has tokens to embed derives from it.

    Args:
        config: Width, depth and heads.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.ln_pre = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.transformer = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.ln_post = nn.LayerNorm(config.width, eps=config.norm_eps)

    def transform(self, tokens: Float[Tensor, "b n w"], wanted: slice = slice(None)) -> Float[Tensor, "b m w"]:
        """Run the blocks.

        Args:
            tokens: With their positions.
            wanted: Places of the tokens to return.
        """
        x = self.ln_pre(tokens)
        for block in self.transformer:
            x = block(x)
        return self.ln_post(x[:, wanted])


def learned(*shape: int) -> nn.Parameter:
    """A token or positions to learn, random at the scale of one over the root of the width, the last of ``shape``."""
    return nn.Parameter(torch.randn(*shape) * shape[-1] ** -0.5)
