"""Index backpropagation quantization: the row with the largest product, and gradients through the choice to all rows.

Source: Shi et al., "Scalable Image Tokenization with Index Backpropagation Quantization", section 3.2, as in
TencentARC/SEED-Voken.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tokbench.quantizers.base import Quantized, Quantizer, single
from tokbench.quantizers.configs import IBQ
from tokbench.quantizers.entropy import entropy, offset_log, soft_assignments
from tokbench.quantizers.nearest import highest_codes
from tokbench.quantizers.slices import over_slices


class IndexBackpropagationQuantizer(Quantizer):
    """The codebook row with the largest dot product, nothing normalised; a code is the row's number.

    The one-hot choice has the gradient of ``softmax(z . e)``: forward it is the row itself, backward every row and the vector
    move.

    Args:
        codebook_size: K.
        dim: D.
        beta: Weight of the term that draws rows to vectors.
        entropy_weight: Weight of the entropy term, ``certain - diversity_weight * used``, see ``entropies``; 0 leaves it out.
        entropy_temperature: Temperature of the soft assignment that the entropies are taken of.
        diversity_weight: Weight of the entropy of the mean assignment within the entropy term.

    Raises:
        ValueError: If there is no row or no column, or the temperature is not positive.
    """

    def __init__(
        self,
        codebook_size: int,
        dim: int,
        *,
        beta: float = 0.25,
        entropy_weight: float = 0.05,
        entropy_temperature: float = 0.01,
        diversity_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.codebook_sizes = IBQ(codebook_size, dim, beta, entropy_weight, entropy_temperature, diversity_weight).codebook_sizes
        self.beta = beta
        self.entropy_weight, self.entropy_temperature, self.diversity_weight = entropy_weight, entropy_temperature, diversity_weight
        self.embedding = nn.Embedding(codebook_size, dim)

    def forward(self, vectors: Float[Tensor, "b l d"]) -> Quantized:
        """Quantize vectors; losses are ``codebook``, and ``entropy`` if that has a weight."""
        vectors = single(vectors)
        codes = self.codes(vectors)
        rows = self.lookup(codes)
        expected = self._expected(vectors)
        quantized = rows + (expected - expected.detach())
        losses = {
            "codebook": F.mse_loss(quantized, vectors) + F.mse_loss(vectors, rows.detach()) + self.beta * F.mse_loss(rows, vectors.detach())
        }
        if self.entropy_weight:
            certain, used = self.entropies(vectors)
            losses["entropy"] = self.entropy_weight * (certain - self.diversity_weight * used)
        return Quantized(quantized, codes, losses)

    @torch.no_grad()
    def codes(self, vectors: Float[Tensor, "b l d"]) -> Int64[Tensor, "b l 1"]:
        """Search without losses."""
        return highest_codes(single(vectors).flatten(0, 1), self.embedding.weight).reshape(*vectors.shape[:2], 1)

    def lookup(self, codes: Int64[Tensor, "b l 1"]) -> Float[Tensor, "b l d"]:
        """Return codebook rows, exactly."""
        return self.embedding(codes.squeeze(-1)).float()

    def entropies(self, vectors: Float[Tensor, "b l d"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Entropies in nats of the soft assignment ``softmax(z . e / temperature)`` over all codes.

        Returns:
            The mean entropy of an assignment, and the entropy of the mean assignment with ``log(p + 1e-5)``, as upstream.
        """
        certain, mean = soft_assignments(vectors.float().flatten(0, 1), self.embedding.weight.float() / self.entropy_temperature)
        return certain, entropy(mean, offset_log)

    def _expected(self, vectors: Tensor) -> Tensor:
        """The mean row under ``softmax(z . e)``, with gradients through the softmax alone."""
        codebook = self.embedding.weight.float()

        def mean_row(rows: Tensor) -> tuple[Tensor]:
            with torch.autocast(rows.device.type, enabled=False):
                return (torch.nan_to_num(rows @ codebook.T).softmax(dim=1) @ codebook.detach(),)

        means = [out[0] for out in over_slices(mean_row, vectors.flatten(0, 1), width=len(codebook))]
        return torch.cat(means).reshape(vectors.shape)
