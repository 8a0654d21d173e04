"""Vector quantization: the nearest row of a learned codebook.

Source: van den Oord et al., "Neural Discrete Representation Learning" (VQ-VAE), equation 3; the parameter name is that
of CompVis/taming-transformers ``taming/modules/vqvae/quantize.py``.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tokbench.quantizers.base import Quantized, Quantizer, straight_through
from tokbench.quantizers.nearest import nearest_codes

LossForm = Literal["paper", "taming", "commitment"]


class VectorQuantizer(Quantizer):
    """Nearest row of one codebook of K rows and D columns.

    Args:
        codebook_size: K.
        dim: D.
        beta: Weight of the second loss term.
        loss_form: ``paper``: codebook term + beta * commitment term. ``taming``: beta sits on the codebook term, as in the
            default of the published VQGAN code, which the published weights were trained with. ``commitment``: only
            beta * commitment, for a codebook that a moving average updates (see ``ema.py``).
    """

    def __init__(self, codebook_size: int, dim: int, *, beta: float = 0.25, loss_form: LossForm = "paper") -> None:
        super().__init__()
        self.codebook_sizes = (codebook_size,)
        self.beta = beta
        self.loss_form = loss_form
        self.embedding = nn.Embedding(codebook_size, dim)
        nn.init.uniform_(self.embedding.weight, -1.0 / codebook_size, 1.0 / codebook_size)

    def forward(self, vectors: Float[Tensor, "b l d"]) -> Quantized:
        """Quantize vectors; losses hold one scalar named ``codebook``."""
        vectors = vectors.float()
        codes = nearest_codes(vectors.reshape(-1, vectors.shape[-1]), self.embedding.weight).reshape(*vectors.shape[:2], 1)
        quantized = self.lookup(codes)
        commitment = F.mse_loss(vectors, quantized.detach())
        if self.loss_form == "commitment":
            loss = self.beta * commitment
        else:
            codebook = F.mse_loss(quantized, vectors.detach())
            loss = codebook + self.beta * commitment if self.loss_form == "paper" else commitment + self.beta * codebook
        return Quantized(straight_through(vectors, quantized), codes, {"codebook": loss})

    def lookup(self, codes: Int64[Tensor, "b l 1"]) -> Float[Tensor, "b l d"]:
        """Return codebook rows, exactly."""
        return self.embedding(codes.squeeze(-1))
