"""Codebook learning by moving averages, with Laplace smoothing and restart of dead codes.

Source: van den Oord et al., "Neural Discrete Representation Learning", appendix A.1; smoothing as in the Sonnet
implementation; restart of unused codes as in Dhariwal et al., "Jukebox", section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tokbench.quantizers.base import check_settings, single
from tokbench.quantizers.kmeans import kmeans
from tokbench.quantizers.vq import VectorQuantizer
from tokbench.together import count_rows, draw_rows, of_the_first, over_all


class EmaCodebook(nn.Module):
    """Moves the rows of a ``VectorQuantizer`` towards the mean of the vectors that chose them.

    It is training state beside the quantizer, so the quantizer's own state stays one tensor. Call ``update`` once a step; the first one
    adopts the codebook as it is unless ``initialise`` or ``adopt`` was called. Its averages are in single precision whatever the
    codebook's is. Where processes train together (``torch.distributed``), every call is one that all of them make. Counts and sums are
    added up over them, rows are drawn among the vectors of all, and their codebooks stay equal.

    Args:
        quantizer: The quantizer whose codebook is moved, in place; its loss form should be ``commitment``, and not cosine.
        decay: Decay of the counts and the sums.
        eps: Laplace smoothing of the counts.
        restart_below: A code whose count falls below this share of the mean count is dead; 0 never restarts.
        restart_every: Updates between two looks for dead codes.

    Raises:
        ValueError: If the quantizer is a cosine one: means of vectors of different lengths are not its centres.
    """

    counts: Tensor
    sums: Tensor
    updates: Tensor

    def __init__(
        self,
        quantizer: VectorQuantizer,
        *,
        decay: float = 0.99,
        eps: float = 1e-5,
        restart_below: float = 0.1,
        restart_every: int = 20,
    ) -> None:
        super().__init__()
        check_settings(decay=decay, eps=eps, restart_below=restart_below)
        if quantizer.cosine:
            raise ValueError("a cosine codebook cannot be learned by moving averages; use loss_form paper")
        self.decay, self.eps = decay, eps
        self.restart_below, self.restart_every = restart_below, restart_every
        self._weight = [quantizer.embedding.weight]  # in a list: the parameter stays the quantizer's
        self._weight[0].requires_grad_(False)
        size, dim = self._weight[0].shape
        self.register_buffer("counts", torch.zeros(size))
        self.register_buffer("sums", torch.zeros(size, dim))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> EmaCodebook:
        """Move with the model, but keep single precision: half precision cannot count beyond 2,048."""
        kept = {name: buffer for name, buffer in self.named_buffers() if buffer.is_floating_point()}
        super()._apply(fn, recurse)
        for name, buffer in kept.items():
            moved = getattr(self, name)
            setattr(self, name, moved.float() if buffer.is_meta or moved.is_meta else buffer.to(moved.device))
        return self

    @torch.no_grad()
    def initialise(self, vectors: Float[Tensor, "n d"], generator: torch.Generator, *, iterations: int = 10) -> None:
        """Set the codebook by k-means on one batch of vectors.

        Args:
            vectors: Those of this process; all processes together have at least as many as the codebook has rows.
            generator: Picks the starting rows.
            iterations: Lloyd steps.
        """
        rows = kmeans(vectors, len(self.counts), generator, iterations=iterations)
        self._weight[0].copy_(rows)
        self._begin(rows, len(vectors))

    @torch.no_grad()
    def adopt(self, vectors_per_step: int) -> None:
        """Start from the codebook as it is, as if every code had been chosen equally often.

        Args:
            vectors_per_step: How many vectors an update will see, in this process.
        """
        rows = of_the_first(self._weight[0].float())
        self._weight[0].copy_(rows)
        self._begin(rows, vectors_per_step)

    def _begin(self, rows: Tensor, vectors: int) -> None:
        total = over_all(self.counts.new_tensor(float(vectors)))
        self.counts.fill_(float(total) / len(self.counts))
        self.sums.copy_(rows * self.counts[:, None])

    @torch.no_grad()
    def update(self, vectors: Float[Tensor, "n d"], codes: Int64[Tensor, " n"], generator: torch.Generator) -> int:
        """Move the codebook by one step.

        Args:
            vectors: What was quantized.
            codes: The row each vector chose.
            generator: Picks the vectors that replace dead codes.

        Returns:
            How many dead codes were restarted.

        Raises:
            TokbenchError: If a vector is NaN or infinite.
        """
        vectors = single(vectors.detach())
        if not bool(self.counts.any()):
            self.adopt(len(vectors))
        counts, sums = map(over_all, self._totals(vectors, codes))
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        total = self.counts.sum()
        smoothed = (self.counts + self.eps) / (total + len(self.counts) * self.eps) * total
        chosen = self.counts > self.eps  # a row that nothing has chosen for very long stays where it is
        self._weight[0].copy_(torch.where(chosen[:, None], self.sums / smoothed[:, None], self._weight[0].float()))
        self.updates += 1
        if self.restart_below and int(self.updates) % self.restart_every == 0:
            return self._restart(vectors, total / len(self.counts), generator)
        return 0

    def _restart(self, vectors: Tensor, mean_count: Tensor, generator: torch.Generator) -> int:
        dead = (self.counts < self.restart_below * mean_count).nonzero().flatten()[: count_rows(vectors)]
        if len(dead):
            fresh = draw_rows(vectors, len(dead), generator)
            self._weight[0][dead] = fresh.to(self._weight[0].dtype)
            self.counts[dead] = mean_count
            self.sums[dead] = fresh * mean_count
        return len(dead)

    def _totals(self, vectors: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        counts = torch.bincount(codes, minlength=len(self.counts)).to(self.counts)
        return counts, torch.zeros_like(self.sums).index_add_(0, codes, vectors.to(self.sums))
