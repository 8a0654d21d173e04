"""Residual vector quantization: every stage quantizes what the stages before it left over.

Source: Zeghidour et al., "SoundStream: An End-to-End Neural Audio Codec", algorithm 1, as in
lucidrains/vector-quantize-pytorch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tokbench.quantizers.base import LARGEST, Quantized, Quantizer, single, straight_through
from tokbench.quantizers.configs import LossForm, ResidualVQ
from tokbench.quantizers.vq import VectorQuantizer


class ResidualQuantizer(Quantizer):
    """K codebooks in stages; the sum of the chosen rows stands for the vector. Codes are row numbers in the order of stages.

    The gradient passes straight through the sum, once; upstream passes it through every stage, which makes it K times as
    large with its plain estimator. Stages learn by their losses, or each by its own ``EmaCodebook`` from ``stage_inputs``.

    Args:
        sizes: Rows of each stage's codebook.
        dim: D.
        beta: Weight of the second loss term of every stage.
        loss_form: As for ``VectorQuantizer``.

    Raises:
        ValueError: If there is no stage.
    """

    def __init__(self, sizes: Sequence[int], dim: int, *, beta: float = 0.25, loss_form: LossForm = "paper") -> None:
        super().__init__()
        self.codebook_sizes = ResidualVQ(tuple(sizes), dim, beta, loss_form).codebook_sizes
        self.layers = nn.ModuleList(VectorQuantizer(size, dim, beta=beta, loss_form=loss_form) for size in sizes)

    def forward(self, vectors: Float[Tensor, "b l d"], *, stages: int | None = None) -> Quantized:
        """Quantize vectors; losses hold one scalar named ``codebook``, the sum over stages.

        Args:
            vectors: What is quantized.
            stages: How many stages to use, for training with fewer of them; None uses all. As many codes come out.

        Raises:
            ValueError: If there are not that many stages.
        """
        vectors = single(vectors)
        residual, codes, losses = vectors, [], []
        for layer in self._first(len(self.layers) if stages is None else stages):
            out = layer(residual)
            residual = (residual - layer.lookup(out.codes).detach()).clamp(-LARGEST, LARGEST)
            codes.append(out.codes)
            losses.append(out.losses["codebook"])
        together = torch.cat(codes, dim=-1)
        return Quantized(straight_through(vectors, self.lookup(together)), together, {"codebook": torch.stack(losses).sum()})

    @torch.no_grad()
    def codes(self, vectors: Float[Tensor, "b l d"]) -> Int64[Tensor, "b l k"]:
        """Search without losses."""
        residual, codes = single(vectors), []
        for layer in self._first(len(self.layers)):
            codes.append(layer.codes(residual))
            residual = (residual - layer.lookup(codes[-1])).clamp(-LARGEST, LARGEST)
        return torch.cat(codes, dim=-1)

    def lookup(self, codes: Int64[Tensor, "b l k"]) -> Float[Tensor, "b l d"]:
        """Return the sums of rows that codes stand for; codes of the first stages alone give coarser vectors."""
        rows = [layer.lookup(code[..., None]) for layer, code in zip(self._first(codes.shape[-1]), codes.unbind(dim=-1), strict=True)]
        return torch.stack(rows).sum(dim=0)

    @torch.no_grad()
    def stage_inputs(self, vectors: Float[Tensor, "b l d"], codes: Int64[Tensor, "b l k"]) -> Float[Tensor, "b l k d"]:
        """Return what each stage quantized: the vectors, less the rows of the stages before."""
        residual, inputs = single(vectors), []
        for layer, code in zip(self._first(codes.shape[-1]), codes.unbind(dim=-1), strict=True):
            inputs.append(residual)
            residual = (residual - layer.lookup(code[..., None])).clamp(-LARGEST, LARGEST)
        return torch.stack(inputs, dim=2)

    def _first(self, stages: int) -> Iterator[VectorQuantizer]:
        if not 1 <= stages <= len(self.layers):
            raise ValueError(f"there are {len(self.layers)} stages, asked for {stages}")
        return iter(self.layers[:stages])  # type: ignore[arg-type]


def from_vector_quantize_pytorch(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the state of a lucidrains/vector-quantize-pytorch ``ResidualVQ`` for a ``ResidualQuantizer``.

    Codebooks ``layers.I._codebook.embed`` ``[1, K, D]`` become ``layers.I.embedding.weight``. The moving averages beside them are
    dropped. Any other key stays, for a strict load to refuse.
    """
    renamed = {}
    for key, value in state.items():
        match = re.fullmatch(r"(layers\.\d+)\._codebook\.(\w+)", key)
        if match is None:
            renamed[key] = value
        elif match[2] == "embed":
            renamed[f"{match[1]}.embedding.weight"] = value.squeeze(0)
        elif match[2] not in ("cluster_size", "embed_avg", "initted"):
            renamed[key] = value
    return renamed
