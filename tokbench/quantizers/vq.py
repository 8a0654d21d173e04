"""Vector quantization: the nearest row of a learned codebook.

Source: van den Oord et al., "Neural Discrete Representation Learning" (VQ-VAE), equation 3; the parameter name is that
of CompVis/taming-transformers ``taming/modules/vqvae/quantize.py``. The cosine form: Yu et al., "Vector-quantized Image
Modeling with Improved VQGAN", section 3.2, as in FoundationVision/LlamaGen.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tokbench.quantizers.base import Quantized, Quantizer, single, straight_through, unit
from tokbench.quantizers.configs import VQ, LossForm
from tokbench.quantizers.entropy import entropy, offset_log, soft_assignments
from tokbench.quantizers.nearest import nearest_codes


class VectorQuantizer(Quantizer):
    """Nearest row of one codebook of K rows and D columns; a code is the row's number.

    Args:
        codebook_size: K.
        dim: D.
        beta: Weight of the second loss term.
        loss_form: ``paper``: codebook term + beta * commitment term. ``taming``: beta sits on the codebook term, as in the
            default of the published VQGAN code, which the published weights were trained with. ``commitment``: only
            beta * commitment, for a codebook that a moving average updates (see ``ema.py``).
        cosine: Normalise vectors and rows to length 1 before all else, so that the largest cosine decides and what comes out
            has length 1 too. The stored codebook stays as it is.
        entropy_weight: Weight of the entropy term, see ``entropies``; 0 leaves it out.
        entropy_temperature: Temperature of the soft assignment that the entropies are taken of.
        raw_rows: In the cosine form, have codes stand for rows as they are stored, as VAR does; only the search normalises.

    Raises:
        ValueError: If there is no row or no column, the loss form is unknown or the temperature not positive.
    """

    def __init__(
        self,
        codebook_size: int,
        dim: int,
        *,
        beta: float = 0.25,
        loss_form: LossForm = "paper",
        cosine: bool = False,
        entropy_weight: float = 0.0,
        entropy_temperature: float = 0.01,
        raw_rows: bool = False,
    ) -> None:
        super().__init__()
        self.codebook_sizes = VQ(codebook_size, dim, beta, loss_form, cosine, entropy_weight, entropy_temperature).codebook_sizes
        self.raw_rows = raw_rows
        self.beta = beta
        self.loss_form = loss_form
        self.cosine = cosine
        self.entropy_weight, self.entropy_temperature = entropy_weight, entropy_temperature
        self.embedding = nn.Embedding(codebook_size, dim)
        nn.init.uniform_(self.embedding.weight, -1.0 / codebook_size, 1.0 / codebook_size)
        if cosine and not raw_rows:
            with torch.no_grad():
                self.embedding.weight.copy_(self._placed(self.embedding.weight))

    def forward(self, vectors: Float[Tensor, "b l d"]) -> Quantized:
        """Quantize vectors; losses hold a scalar named ``codebook``, and one named ``entropy`` if that has a weight."""
        placed = self._placed(single(vectors))
        codes = self._nearest(placed)
        vectors = single(vectors) if self.raw_rows else placed
        quantized = self.lookup(codes)
        commitment = F.mse_loss(vectors, quantized.detach())
        if self.loss_form == "commitment":
            loss = self.beta * commitment
        else:
            codebook = F.mse_loss(quantized, vectors.detach())
            loss = codebook + self.beta * commitment if self.loss_form == "paper" else commitment + self.beta * codebook
        losses = {"codebook": loss}
        if self.entropy_weight:
            certain, used = self.entropies(vectors)
            losses["entropy"] = self.entropy_weight * (certain - used)
        return Quantized(straight_through(vectors, quantized), codes, losses)

    @torch.no_grad()
    def codes(self, vectors: Float[Tensor, "b l d"]) -> Int64[Tensor, "b l 1"]:
        """Search without losses."""
        return self._nearest(self._placed(single(vectors)))

    def lookup(self, codes: Int64[Tensor, "b l 1"]) -> Float[Tensor, "b l d"]:
        """Return codebook rows, exactly, or at length 1 in the cosine form."""
        rows = self.embedding(codes.squeeze(-1)).float()
        return rows if self.raw_rows else self._placed(rows)

    def entropies(self, vectors: Float[Tensor, "b l d"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Entropies in nats of the soft assignment ``softmax(-|z - e|^2 / temperature)`` over all codes.

        Returns:
            The mean entropy of an assignment, and the entropy of the mean assignment with ``log(p + 1e-5)``, as in LlamaGen.
        """
        rows = self._rows()
        flat = rearrange(self._placed(single(vectors)), "b l d -> (b l) d")
        weight, bias = 2.0 * rows / self.entropy_temperature, -rows.square().sum(dim=1) / self.entropy_temperature
        certain, mean = soft_assignments(flat, weight, bias)  # |z|^2 is the same for all codes
        return certain, entropy(mean, offset_log)

    def _nearest(self, placed: Tensor) -> Tensor:
        return nearest_codes(placed.flatten(0, 1), self._rows()).reshape(*placed.shape[:2], 1)

    def _rows(self) -> Tensor:
        return self._placed(self.embedding.weight.float())

    def _placed(self, vectors: Tensor) -> Tensor:
        return unit(vectors) if self.cosine else vectors
