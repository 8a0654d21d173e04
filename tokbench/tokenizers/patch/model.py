"""Vector quantization of raw patches: the plainest tokenizer with a codebook.

images -> 4x4 patches -> nearest of 1024 patches -> images
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from tokbench.quantizers.nearest import nearest_codes
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.patch.variants import PatchConfig
from tokbench.tokens import DiscreteTokens


class PatchKMeans(Tokenizer):
    """The nearest codebook patch for every patch.

    Args:
        config: Patch and codebook size; the patches are its weights.
    """

    config: PatchConfig
    codebook: Tensor

    def __init__(self, config: PatchConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("codebook", torch.zeros(config.codebook_size, 3 * config.patch**2))

    def _encode(self, images: Tensor, seeds: list[int]) -> DiscreteTokens:
        layout = self.layout(*images.shape[2:])
        patches = rearrange(images, "b c (h p) (w q) -> (b h w) (c p q)", p=self.stride, q=self.stride)
        codes = nearest_codes(patches, self.codebook).reshape(len(images), -1, 1)
        return DiscreteTokens(codes, layout.grid, layout.codebook_sizes)

    def _decode(self, tokens: DiscreteTokens, seeds: list[int]) -> Tensor:
        height, width = tokens.grid
        patches = self._embed(tokens.codes)
        return rearrange(patches, "b (h w) (c p q) -> b c (h p) (w q)", h=height, w=width, p=self.stride, q=self.stride)

    def _embed(self, codes: Tensor) -> Tensor:
        return self.codebook[codes.squeeze(-1)]
