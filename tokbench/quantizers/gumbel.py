"""Gumbel quantization: a linear layer scores the codes, training draws one by the Gumbel-softmax trick.

Source: Jang et al., "Categorical Reparameterization with Gumbel-Softmax"; parameter names and shapes are those of
CompVis/taming-transformers ``taming/modules/vqvae/quantize.py``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tokbench.quantizers.base import Quantized, Quantizer, single
from tokbench.quantizers.configs import Gumbel
from tokbench.quantizers.nearest import highest_codes
from tokbench.quantizers.slices import over_slices
from tokbench.together import own_rows, processes


class GumbelQuantizer(Quantizer):
    """The code with the highest score, out of K; a code is the row's number in ``embed``.

    In training mode the scores get Gumbel noise, from a generator that the caller passes. In evaluation mode there is no noise;
    upstream draws it there too. Either way the one-hot choice has the gradient of the softmax.

    Args:
        codebook_size: K.
        dim: D, of vectors and codes.
        kl_weight: Weight of the divergence of the scores' softmax from the uniform distribution, in nats a position.
        temperature: Temperature of the softmax that gradients pass through; upstream lowers it during training, and so may a caller.

    Raises:
        ValueError: If there is no row or no column, or the temperature is not positive.
    """

    def __init__(self, codebook_size: int, dim: int, *, kl_weight: float = 5e-4, temperature: float = 1.0) -> None:
        super().__init__()
        self.codebook_sizes = Gumbel(codebook_size, dim, kl_weight, temperature).codebook_sizes
        self.kl_weight, self.temperature = kl_weight, temperature
        self.proj = nn.Conv2d(dim, codebook_size, 1)  # a linear layer, with the published file's shapes
        self.embed = nn.Embedding(codebook_size, dim)

    def forward(self, vectors: Float[Tensor, "b l d"], *, generator: torch.Generator | None = None) -> Quantized:
        """Quantize vectors; losses hold one scalar named ``kl``.

        Args:
            vectors: What is quantized.
            generator: Draws the noise in training mode, as upstream draws it: ``[B, K, L]``. Not used in evaluation mode.

        Raises:
            ValueError: If there is no generator in training mode.
        """
        vectors = single(vectors)
        noise = self._noise(vectors, generator) if self.training else vectors.new_zeros(*vectors.shape[:2], 1)
        sampled, expected, divergence = self._sample(vectors, noise)
        codes = sampled if self.training else self.codes(vectors)
        quantized = self.lookup(codes) + (expected - expected.detach())
        return Quantized(quantized, codes, {"kl": self.kl_weight * divergence})

    @torch.no_grad()
    def codes(self, vectors: Float[Tensor, "b l d"]) -> Int64[Tensor, "b l 1"]:
        """Return the codes with the highest scores, without noise in any mode, and without losses."""
        return highest_codes(single(vectors).flatten(0, 1), self._weight(), self._bias()).reshape(*vectors.shape[:2], 1)

    def lookup(self, codes: Int64[Tensor, "b l 1"]) -> Float[Tensor, "b l d"]:
        """Return rows of ``embed``, exactly."""
        return self.embed(codes.squeeze(-1)).float()

    def scores(self, vectors: Float[Tensor, "*b d"]) -> Float[Tensor, "*b k"]:
        """Return the score of every code: a table of K values a vector."""
        with torch.autocast(vectors.device.type, enabled=False):
            return torch.nan_to_num(F.linear(vectors.float(), self._weight(), self._bias()))

    def _weight(self) -> Tensor:
        return self.proj.weight.flatten(1).float()

    def _bias(self) -> Tensor | None:
        return None if self.proj.bias is None else self.proj.bias.float()

    def _noise(self, vectors: Tensor, generator: torch.Generator | None) -> Tensor:
        """Standard Gumbel noise, ``[B, L, K]``: a share of that of the whole batch, where processes train together."""
        if generator is None:
            raise ValueError("training draws Gumbel noise: pass a generator, or call eval() first")
        shape = len(vectors) * processes(), self.codebook_sizes[0], vectors.shape[1]
        exponential = torch.empty(shape, device=generator.device).exponential_(generator=generator)
        exponential = own_rows(exponential)
        return rearrange(-exponential.log(), "b k l -> b l k").to(vectors.device)

    def _sample(self, vectors: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The codes with the highest noisy scores, the mean row under their softmax, and the divergence of the scores."""

        def one_slice(rows: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            scores = self.scores(rows)
            noisy = scores + noise
            prior = scores.softmax(dim=1)
            divergence = (prior * torch.log(prior * prior.shape[1] + 1e-10)).sum()
            with torch.autocast(rows.device.type, enabled=False):
                return (
                    noisy.argmax(dim=1),
                    torch.nan_to_num(noisy / self.temperature).softmax(dim=1) @ self.embed.weight.detach().float(),
                    divergence,
                )

        positions = vectors.shape[:2]
        slices = over_slices(one_slice, vectors.flatten(0, 1), noise.flatten(0, 1), width=self.codebook_sizes[0])
        codes, expected, divergence = zip(*slices, strict=True)
        return (
            torch.cat(codes).reshape(*positions, 1),
            torch.cat(expected).reshape(vectors.shape),
            torch.stack(divergence).sum() / positions.numel(),
        )
