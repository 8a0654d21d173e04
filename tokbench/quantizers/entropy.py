"""Entropies of soft assignments of vectors to codes: the mean entropy of one, and the entropy of their mean.

Training lowers the first, so that every vector is certain of its code, and raises the second, so that all codes are used. Processes that
train together take the mean assignment of all of them. The mean entropy is each one's own.

Source: Yu et al., "Language Model Beats Diffusion: Tokenizer is Key to Visual Generation" (MAGVIT-v2), equation 5.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tokbench.quantizers.slices import over_slices
from tokbench.together import mean_of_all

Log = Callable[[Tensor], Tensor]
"""Logarithm of a probability that stays finite at zero."""


def offset_log(probabilities: Tensor, eps: float = 1e-5) -> Tensor:
    """``log(p + eps)``."""
    return torch.log(probabilities + eps)


def clamped_log(probabilities: Tensor, eps: float = 1e-5) -> Tensor:
    """``log(max(p, eps))``."""
    return torch.log(probabilities.clamp_min(eps))


def entropy(probabilities: Float[Tensor, "*b k"], log: Log) -> Float[Tensor, "*b"]:
    """Entropy in nats of distributions over the last axis.

    Args:
        probabilities: Distributions.
        log: Published code differs in how it keeps the logarithm finite, and where K is large it shows.
    """
    return -(probabilities * log(probabilities)).sum(dim=-1)


def soft_assignments(
    vectors: Float[Tensor, "n d"],
    weight: Float[Tensor, "k d"],
    bias: Float[Tensor, " k"] | None = None,
    *,
    log: Log | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, " k"]]:
    """Assign vectors to codes by ``softmax(vectors @ weight.T + bias)``, without holding the table of all pairs.

    Args:
        vectors: What is assigned.
        weight: The codes, with temperature and factors worked in.
        bias: Added to the logits of each code.
        log: Logarithm in the entropies; None is exact.

    Returns:
        The mean entropy of an assignment in nats, and the mean assignment.
    """
    offset = weight.new_zeros(len(weight)) if bias is None else bias

    def totals(rows: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(rows.device.type, enabled=False):
            logits = torch.addmm(offset, rows, weight.T)
            assignment = logits.softmax(dim=1)
            certain = -(assignment * logits.log_softmax(dim=1)).sum() if log is None else entropy(assignment, log).sum()
            return certain, assignment.sum(dim=0)

    certain, mean = zip(*over_slices(totals, vectors, width=len(weight)), strict=True)
    return torch.stack(certain).sum() / len(vectors), mean_assignment(torch.stack(mean).sum(dim=0), len(vectors))


def bit_assignments(logits: Float[Tensor, "n g"]) -> tuple[Float[Tensor, ""], Float[Tensor, " k"]]:
    """Assign vectors to the ``2 ** g`` codes of g independent bits.

    The assignment is a product over bits. So the mean entropy of a vector is a sum over bits, and there is no table of all codes for
    every vector. The mean assignment is one matrix product between the distributions of the lower and the upper bits.

    Args:
        logits: Logits of each bit being on, the lowest bit first.

    Returns:
        The mean entropy of an assignment in nats, exactly, and the mean assignment.
    """
    with torch.autocast(logits.device.type, enabled=False):
        on, off = F.logsigmoid(logits), F.logsigmoid(-logits)
        certain = -(on.exp() * on + off.exp() * off).sum(dim=1).mean()
        half = logits.shape[1] // 2
        low, high = (_joint(torch.stack([off[:, part], on[:, part]], dim=-1)) for part in (slice(half), slice(half, None)))
        return certain, mean_assignment((high.T @ low).flatten(), len(logits))


def mean_assignment(totals: Float[Tensor, "*s"], count: int) -> Float[Tensor, "*s"]:
    """Divide summed assignments by their number; in training, over all processes that train together.

    Args:
        totals: Sums of this process.
        count: Vectors it has summed over.
    """
    return mean_of_all(totals, count) if torch.is_grad_enabled() else totals / count


def _joint(log_bits: Float[Tensor, "n g 2"]) -> Float[Tensor, "n m"]:
    """Probabilities of all values of g independent bits, the first bit changing fastest."""
    joint = log_bits.new_zeros(len(log_bits), 1)
    for bit in log_bits.unbind(dim=1):
        joint = (bit[:, :, None] + joint[:, None, :]).flatten(1)
    return joint.exp()
