"""Lookup-free quantization: every channel becomes its sign, groups of channels become codes.

Sources: Yu et al., "Language Model Beats Diffusion: Tokenizer is Key to Visual Generation" (MAGVIT-v2); the
split of a token into several codes and the packing are those of Open-MAGVIT2 and kylesargent/FlowMo.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor

from tokbench.quantizers.base import Quantized, Quantizer, straight_through


class LookupFreeQuantizer(Quantizer):
    """Signs of K * bits channels as K codes of ``bits`` bits, bit g of code k from channel ``g * K + k``.

    Zero counts as negative. Bit 0 is the least significant.

    Args:
        bits: Bits of a code.
        codebooks: K, codes a token.
        entropy_weight: Weight of the entropy term, see ``entropies``.
        commitment_weight: Weight of the squared distance to the signs.
        temperature: Of the soft assignment that the entropies are taken of; FlowMo has 0.1, Open-MAGVIT2 0.01.
    """

    def __init__(
        self,
        bits: int,
        codebooks: int = 1,
        *,
        entropy_weight: float = 0.0025,
        commitment_weight: float = 0.000625,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        if not 1 <= bits <= 62 or codebooks < 1:
            raise ValueError(f"a code has 1 to 62 bits and a token at least one code, got {bits} and {codebooks}")
        self.bits, self.codebooks = bits, codebooks
        self.codebook_sizes = (2**bits,) * codebooks
        self.entropy_weight, self.commitment_weight, self.temperature = entropy_weight, commitment_weight, temperature

    def forward(self, vectors: Float[Tensor, "b l d"]) -> Quantized:
        """Quantize vectors; losses are ``entropy`` (certain per vector, uniform over all) and ``commitment``."""
        vectors = vectors.float()
        signs = torch.where(vectors > 0, 1.0, -1.0)
        certain, used = self.entropies(vectors)
        losses = {
            "entropy": self.entropy_weight * (certain - used),
            "commitment": self.commitment_weight * F.mse_loss(vectors, signs),
        }
        return Quantized(straight_through(vectors, signs), self.codes(vectors), losses)

    def codes(self, vectors: Float[Tensor, "b l d"]) -> Int64[Tensor, "b l k"]:
        """Pack signs into codes, without losses."""
        positive = rearrange(vectors > 0, "b l (g k) -> b l k g", k=self.codebooks)
        return (positive.long() << torch.arange(self.bits, device=vectors.device)).sum(dim=-1)

    def lookup(self, codes: Int64[Tensor, "b l k"]) -> Float[Tensor, "b l d"]:
        """Return the signs that codes stand for, exactly -1 or 1."""
        bits = (codes[..., None] >> torch.arange(self.bits, device=codes.device)) & 1
        return rearrange(2.0 * bits.float() - 1.0, "b l k g -> b l (g k)")

    def entropies(self, vectors: Float[Tensor, "b l d"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Entropies in nats of the soft assignment ``softmax(2 x . code / temperature)`` over all codes.

        The assignment is a product over bits. So the mean entropy of a vector is a sum over bits, and the mean assignment is
        one matrix product between the distributions of the lower and the upper bits: no table of all codes for every vector.

        Returns:
            The mean entropy of an assignment, and the entropy of the mean assignment. The second takes ``log(p + 1e-5)``,
            as upstream does, and needs memory for ``2 ** bits`` values.
        """
        logits = rearrange(vectors.float(), "b l (g k) -> (b l k) g", k=self.codebooks) * (4.0 / self.temperature)
        on, off = F.logsigmoid(logits), F.logsigmoid(-logits)
        certain = -(on.exp() * on + off.exp() * off).sum(dim=1).mean()
        half = self.bits // 2
        low, high = (_joint(torch.stack([off[:, part], on[:, part]], dim=-1)) for part in (slice(half), slice(half, None)))
        mean = high.T @ low / len(logits)
        return certain, -(mean * torch.log(mean + 1e-5)).sum()


def _joint(log_bits: Float[Tensor, "n g 2"]) -> Float[Tensor, "n m"]:
    """Probabilities of all values of g independent bits, the first bit changing fastest."""
    joint = log_bits.new_zeros(len(log_bits), 1)
    for bit in log_bits.unbind(dim=1):
        joint = (bit[:, :, None] + joint[:, None, :]).flatten(1)
    return joint.exp()
