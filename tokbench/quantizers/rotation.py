"""The rotation trick: gradients pass a quantizer turned and stretched as the vector was on its way to the code."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

EPS = 1e-6


def rotate_through(vectors: Float[Tensor, "*b d"], quantized: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
    """Return ``quantized``, with a gradient that reaches ``vectors`` by the transposed rotation between the two.

    ``vectors`` e have unit vectors u, ``quantized`` q have v, and w is the unit vector of u + v. The map is ``|q| / |e| (I - 2 w w^T + 2
    v u^T)``. It takes e to q and is held constant, as q is. Where e or q has no direction, the gradient passes straight through.

    Source: Fifty et al., "Restructuring Vector Quantization with the Rotation Trick", section 4.2.
    """
    e, q = vectors.detach(), quantized.detach()
    e_norm, q_norm = e.norm(dim=-1, keepdim=True), q.norm(dim=-1, keepdim=True)
    u, v = e / e_norm.clamp_min(EPS), q / q_norm.clamp_min(EPS)
    w = F.normalize(u + v, dim=-1, eps=EPS)
    rotated = vectors - 2 * (vectors * w).sum(dim=-1, keepdim=True) * w + 2 * (vectors * u).sum(dim=-1, keepdim=True) * v
    rotated = rotated * (q_norm / e_norm.clamp_min(EPS))
    turned = (e_norm > EPS) & (q_norm > EPS) & rotated.isfinite().all(dim=-1, keepdim=True)
    passed = rotated.where(turned, vectors)
    return q + (passed - passed.detach())
