"""SimVQ: the codebook is a frozen random one under a learned linear map, so training moves all codes at once.

Source: Zhu et al., "Addressing Representation Collapse in Vector Quantized Models with One Linear Layer", as in
lucidrains/vector-quantize-pytorch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tokbench.quantizers import configs
from tokbench.quantizers.base import Quantized, Quantizer, single, straight_through
from tokbench.quantizers.nearest import nearest_codes
from tokbench.quantizers.rotation import rotate_through


class SimVQ(Quantizer):
    """Nearest row of ``code_transform(frozen_codebook)``; a code is the row's number.

    Args:
        codebook_size: K.
        dim: D.
        frozen_dim: Columns of the frozen codebook; None is D.
        transform: Map from frozen rows to codes; None is a linear map without bias.
        beta: Weight of the term that draws vectors to codes, against 1 for the one that draws codes to vectors.
        commitment_weight: Weight of both together.
        rotation_trick: Turn gradients as ``rotate_through`` does; else they pass straight through.

    Raises:
        ValueError: If there is no row or no column.
    """

    frozen_codebook: Tensor

    def __init__(
        self,
        codebook_size: int,
        dim: int,
        *,
        frozen_dim: int | None = None,
        transform: nn.Module | None = None,
        beta: float = 0.25,
        commitment_weight: float = 1.0,
        rotation_trick: bool = True,
    ) -> None:
        super().__init__()
        self.codebook_sizes = configs.SimVQ(codebook_size, dim, frozen_dim, beta, commitment_weight, rotation_trick).codebook_sizes
        frozen_dim = dim if frozen_dim is None else frozen_dim
        self.beta, self.commitment_weight, self.rotation_trick = beta, commitment_weight, rotation_trick
        self.code_transform = nn.Linear(frozen_dim, dim, bias=False) if transform is None else transform
        self.register_buffer("frozen_codebook", torch.randn(codebook_size, frozen_dim) * frozen_dim**-0.5)

    def forward(self, vectors: Float[Tensor, "b l d"]) -> Quantized:
        """Quantize vectors; losses hold one scalar named ``codebook``."""
        vectors = single(vectors)
        codes = self.codes(vectors)
        quantized = self.lookup(codes)
        loss = F.mse_loss(quantized, vectors.detach()) + self.beta * F.mse_loss(vectors, quantized.detach())
        passed = rotate_through(vectors, quantized) if self.rotation_trick else straight_through(vectors, quantized)
        return Quantized(passed, codes, {"codebook": self.commitment_weight * loss})

    @torch.no_grad()
    def codes(self, vectors: Float[Tensor, "b l d"]) -> Int64[Tensor, "b l 1"]:
        """Search without losses."""
        return nearest_codes(single(vectors).flatten(0, 1), self.codebook()).reshape(*vectors.shape[:2], 1)

    def lookup(self, codes: Int64[Tensor, "b l 1"]) -> Float[Tensor, "b l d"]:
        """Return the rows that codes stand for; only they are mapped."""
        return self._map(self.frozen_codebook[codes.squeeze(-1)])

    def codebook(self) -> Float[Tensor, "k d"]:
        """Return all rows under the map."""
        return self._map(self.frozen_codebook)

    def _map(self, rows: Tensor) -> Tensor:
        transform = self.code_transform
        with torch.autocast(rows.device.type, enabled=False):
            if type(transform) is nn.Linear:
                return F.linear(rows.float(), transform.weight.float(), None if transform.bias is None else transform.bias.float())
            return transform(rows).float()
