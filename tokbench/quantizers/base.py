"""The contract of a quantizer: vectors in, vectors and codes out, channel last."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn


@dataclass(frozen=True)
class Quantized:
    """What a quantizer makes of a batch of vectors.

    Args:
        vectors: The quantized vectors; gradients reach the input straight through.
        codes: One code per position and codebook.
        losses: Scalars to be added to the training loss, already weighted, by name.
    """

    vectors: Float[Tensor, "b l d"]
    codes: Int64[Tensor, "b l k"]
    losses: dict[str, Tensor]


class Quantizer(nn.Module, ABC):
    """Maps vectors ``[B, L, D]`` to the nearest entries of one or several codebooks."""

    codebook_sizes: tuple[int, ...]

    @abstractmethod
    def forward(self, vectors: Float[Tensor, "b l d"]) -> Quantized:
        """Quantize vectors and compute the training losses."""

    @torch.no_grad()
    def codes(self, vectors: Float[Tensor, "b l d"]) -> Int64[Tensor, "b l k"]:
        """Return the codes alone; a subclass leaves out what only training needs."""
        return self(vectors).codes

    @abstractmethod
    def lookup(self, codes: Int64[Tensor, "b l k"]) -> Float[Tensor, "b l d"]:
        """Return the vectors that codes stand for."""


def straight_through(vectors: Tensor, quantized: Tensor) -> Tensor:
    """Return ``quantized``, with the gradient of ``vectors``."""
    return vectors + (quantized - vectors).detach()
