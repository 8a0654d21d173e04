"""The contract of a quantizer: vectors in, vectors and codes out, channel last."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tokbench.errors import TokbenchError
from tokbench.granted import require
from tokbench.tracing import graph_value, traced

LARGEST = torch.finfo(torch.float32).max
SAFE = 1e15
"""Up to this a float32 has a square, and sums of squares, that are finite too."""


@graph_value
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
    """Return ``quantized``, exactly, with the gradient of ``vectors``."""
    return quantized.detach() + (vectors - vectors.detach())


def check_settings(**settings: float) -> None:
    """Refuse weights, temperatures and other real settings that are no finite number: they would spoil training, or codes, in silence.

    Args:
        **settings: By name.

    Raises:
        ValueError: If one is NaN or infinite.
    """
    for name, value in settings.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} must be a finite number, got {value}")


def single(vectors: Float[Tensor, "*s"], what: str = "features") -> Float[Tensor, "*s"]:
    """Return vectors in single precision, in which quantizers compute whatever a model computes in.

    Args:
        vectors: Vectors of any floating dtype; float64 beyond the range of float32 becomes its largest number.
        what: What an error calls them.

    Raises:
        TokbenchError: If a value is NaN or infinite; not while a graph is traced.
    """
    check_finite(vectors, what)
    return vectors.clamp(-LARGEST, LARGEST).float() if vectors.dtype == torch.float64 else vectors.float()


def check_finite(values: Float[Tensor, "*s"], what: str) -> None:
    """Refuse values that are NaN or infinite, since they would become some code without a word.

    While a graph is traced nothing is checked: that would read values back.

    Args:
        values: What a network computed.
        what: What to call it.

    Raises:
        TokbenchError: If one is not finite.
    """
    if traced() or values.is_meta:
        return
    require(torch.isfinite(values).all(), lambda: _not_finite(values, what))


def _not_finite(values: Tensor, what: str) -> TokbenchError:
    bad = int((~torch.isfinite(values)).sum())
    return TokbenchError(
        f"{bad} of {values.numel()} {what} in {str(values.dtype).removeprefix('torch.')} are NaN or infinite; "
        "the network needs another precision (float32 or bfloat16), or its weights or the input are damaged"
    )


def unit(vectors: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
    """Return vectors at length 1, also those whose squares would overflow or vanish; zero stays zero.

    The smallest ones get no gradient: it would be as large as they are small.
    """
    largest = vectors.detach().abs().amax(dim=-1, keepdim=True)
    tiny = (largest > 0) & (largest < 1 / SAFE)
    scaled = vectors / largest.where(tiny | (largest > SAFE), 1.0)
    return F.normalize(scaled.detach().where(tiny, scaled), dim=-1)
