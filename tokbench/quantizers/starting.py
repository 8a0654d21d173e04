"""Where codebooks that learn by their losses begin: among the vectors they are going to quantize."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from tokbench.quantizers.base import LARGEST, Quantizer, single
from tokbench.quantizers.kmeans import kmeans
from tokbench.quantizers.residual import ResidualQuantizer
from tokbench.quantizers.vq import VectorQuantizer
from tokbench.together import count_rows


@torch.no_grad()
def start_codebooks(quantizer: Quantizer, vectors: Float[Tensor, "n d"], generator: torch.Generator, *, iterations: int = 10) -> bool:
    """Set the rows of a codebook, or of each stage's, by k-means on one batch.

    Small random rows leave most vectors to the few codes that lie farthest out, and the rest are never learned.

    Args:
        quantizer: Changed in place; one without rows that lie among the vectors is left as it is.
        vectors: What it is going to quantize, of this process; fewer in all than there are rows leave it as it is.
        generator: Picks the starting rows.
        iterations: Lloyd steps.

    Returns:
        Whether the rows were set.
    """
    stages = list(quantizer.layers) if isinstance(quantizer, ResidualQuantizer) else [quantizer]
    count = count_rows(vectors)
    if any(not isinstance(stage, VectorQuantizer) or stage.cosine or len(stage.embedding.weight) > count for stage in stages):
        return False
    residual = single(vectors)
    for stage in stages:
        assert isinstance(stage, VectorQuantizer)
        stage.embedding.weight.copy_(kmeans(residual, len(stage.embedding.weight), generator, iterations=iterations))
        chosen = stage.lookup(stage.codes(residual[None]))[0].to(residual.dtype)
        residual = (residual - chosen).clamp(-LARGEST, LARGEST)
    return True
