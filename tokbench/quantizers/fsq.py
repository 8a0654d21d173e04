"""Finite scalar quantization: every channel is bounded and rounded to a few levels, all channels together are one code.

Source: Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple", with the bound of lucidrains/vector-quantize-pytorch and
NVIDIA/Cosmos-Tokenizer. The symmetric levels are those of Parker et al., "Scaling Transformers for Low-Bitrate High-Quality Speech
Coding", section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor

from tokbench.quantizers.base import Quantized, Quantizer, single, straight_through
from tokbench.quantizers.configs import FSQ

EPS = 1e-3


class FiniteScalarQuantizer(Quantizer):
    """Rounds channel i to one of ``levels[i]`` values in [-1, 1]; no parameters, no losses.

    A code is a number of mixed radix, and its first channel is the least significant. The digit of channel i, counted from its smallest
    value, has the place value ``levels[0] * ... * levels[i - 1]``. With K codes a position, code k owns the k-th run of ``len(levels)``
    channels.

    Published settings: Cosmos-Tokenizer DI has levels 8, 8, 8, 5, 5, 5, not symmetric, and computes in bfloat16, while this
    computes in single precision.

    Args:
        levels: Number of values of each channel of a code.
        codebooks: K, codes a position.
        preserve_symmetry: Space the values evenly over [-1, 1] with both ends. Else they are multiples of ``1 / (levels // 2)``, with
            zero, and for even levels one value more below zero than above.

    Raises:
        ValueError: If there is no level, one is below 2, or 2 without symmetry, or above ``MOST_LEVELS``, or if the code does not fit 63
            bits.
    """

    levels: Tensor
    places: Tensor

    def __init__(self, levels: Sequence[int], codebooks: int = 1, *, preserve_symmetry: bool = False) -> None:
        super().__init__()
        self.codebook_sizes = FSQ(tuple(levels), codebooks, preserve_symmetry).codebook_sizes
        self.codebooks, self.preserve_symmetry = codebooks, preserve_symmetry
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("places", torch.tensor([math.prod(levels[:i]) for i in range(len(levels))]), persistent=False)

    def forward(self, vectors: Float[Tensor, "b l d"]) -> Quantized:
        """Quantize vectors; the gradient passes straight through the rounding, and is that of the bound."""
        digits = self._digits(vectors)
        return Quantized(self._values(digits), self._pack(digits), {})

    @torch.no_grad()
    def codes(self, vectors: Float[Tensor, "b l d"]) -> Int64[Tensor, "b l k"]:
        """Return the codes alone."""
        return self._pack(self._digits(vectors))

    def lookup(self, codes: Int64[Tensor, "b l k"]) -> Float[Tensor, "b l d"]:
        """Return the values that codes stand for."""
        return self._values((codes[..., None] // self.places % self.levels).float())

    def _digits(self, vectors: Tensor) -> Tensor:
        """Digits from 0 up as floats, ``[B, L, K, channels]``."""
        channels = rearrange(single(vectors), "b l (k i) -> b l k i", k=self.codebooks)
        if self.preserve_symmetry:
            bounded = (self.levels - 1) * (channels.tanh() + 1) / 2 + 0.5
            return straight_through(bounded, bounded.floor().clamp(min=0).minimum(self.levels - 1.0))
        half = (self.levels - 1) * (1 + EPS) / 2
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0)
        bounded = (channels + (offset / half).atanh()).tanh() * half - offset
        lowest = -(self.levels // 2).float()  # many levels put the bound beyond half a step from the last one
        return straight_through(bounded, bounded.round().clamp(lowest, lowest + (self.levels - 1))) - lowest

    def _values(self, digits: Tensor) -> Tensor:
        half = (self.levels - 1) / 2 if self.preserve_symmetry else self.levels // 2
        values = (digits - half) / half
        return rearrange(values, "b l k i -> b l (k i)")

    def _pack(self, digits: Tensor) -> Tensor:
        return (digits.detach().round().long() * self.places).sum(dim=-1)
