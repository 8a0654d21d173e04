"""Lookup-free quantization: every channel becomes its sign, groups of channels become codes.

Source: Yu et al., "Language Model Beats Diffusion: Tokenizer is Key to Visual Generation" (MAGVIT-v2). The published
forms differ in packing and in the entropies:

    FlowMo, Open-MAGVIT2     bit_order low    entropy_form exact     temperature 0.1, 0.01
    MaskBit                  bit_order low    entropy_form clamped   temperature 0.01
    vector-quantize-pytorch  bit_order high   entropy_form clamped   temperature 0.01, its ``inv_temperature`` 100
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor

from tokbench.quantizers.base import Quantized, Quantizer, single, straight_through, unit
from tokbench.quantizers.configs import LFQ, BitOrder, SignEntropy
from tokbench.quantizers.entropy import bit_assignments, clamped_log, entropy, offset_log, soft_assignments
from tokbench.quantizers.signs import pack_signs, sign_table, unpack_signs


class LookupFreeQuantizer(Quantizer):
    """Signs of K * bits channels as K codes of ``bits`` bits.

    Zero counts as negative. With ``bit_order`` low, bit g of code k is channel ``g * K + k``, bit 0 the least significant. With high,
    code k owns the k-th run of ``bits`` channels, the first the most significant.

    Args:
        bits: Bits of a code.
        codebooks: K, codes a token.
        entropy_weight: Weight of the entropy term, ``certain - diversity_weight * used``, see ``entropies``.
        commitment_weight: Weight of the squared distance to the signs.
        temperature: Temperature of the soft assignment that the entropies are taken of.
        diversity_weight: Weight of the entropy of the mean assignment within the entropy term.
        bit_order: How channels become codes.
        entropy_form: How the entropies are taken, see ``entropies``.
        spherical: Project the channels of each code onto the sphere of radius ``scale``, and have the codes on it.
        scale: Size of a channel of the codes, or radius of the sphere.

    Raises:
        ValueError: If a code has no bits or more than 62, or more than ``MOST_BITS`` with an entropy weight. If a token has no code, a
            form is unknown, or temperature or scale are not positive.
    """

    def __init__(
        self,
        bits: int,
        codebooks: int = 1,
        *,
        entropy_weight: float = 0.0025,
        commitment_weight: float = 0.000625,
        temperature: float = 0.1,
        diversity_weight: float = 1.0,
        bit_order: BitOrder = "low",
        entropy_form: SignEntropy = "exact",
        spherical: bool = False,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        settings = LFQ(
            bits,
            codebooks,
            entropy_weight,
            commitment_weight,
            temperature,
            diversity_weight,
            bit_order,
            entropy_form,
            spherical,
            scale,
        )
        self.codebook_sizes = settings.codebook_sizes
        self.bits, self.codebooks = bits, codebooks
        self.entropy_weight, self.commitment_weight, self.temperature = entropy_weight, commitment_weight, temperature
        self.diversity_weight, self.bit_order, self.entropy_form = diversity_weight, bit_order, entropy_form
        self.spherical, self.scale = spherical, scale
        self.pattern = "(g k)" if bit_order == "low" else "(k g)"

    def forward(self, vectors: Float[Tensor, "b l d"]) -> Quantized:
        """Quantize vectors; losses are ``entropy`` (certain per vector, uniform over all) and ``commitment``."""
        vectors = single(vectors)
        channels = self._merge(self._split(vectors))
        codes = self.codes(vectors)  # of the vectors: on the sphere the smallest of them are 0
        quantized = self.lookup(codes)
        certain, used = self.entropies(channels) if self.entropy_weight else (channels.new_zeros(()), channels.new_zeros(()))
        losses = {
            "entropy": self.entropy_weight * (certain - self.diversity_weight * used),
            "commitment": self.commitment_weight * F.mse_loss(channels, quantized),
        }
        return Quantized(straight_through(channels, quantized), codes, losses)

    def codes(self, vectors: Float[Tensor, "b l d"]) -> Int64[Tensor, "b l k"]:
        """Pack signs into codes, without losses."""
        return pack_signs(rearrange(single(vectors), f"b l {self.pattern} -> b l k g", k=self.codebooks), self.bit_order)

    def lookup(self, codes: Int64[Tensor, "b l k"]) -> Float[Tensor, "b l d"]:
        """Return the vectors that codes stand for: signs, exactly -1 or 1, unless there is a ``scale`` or a sphere."""
        return self._merge(unpack_signs(codes, self.bits, self.bit_order) * self._size)

    def entropies(self, vectors: Float[Tensor, "b l d"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Entropies in nats of the soft assignment ``softmax(2 x . code / temperature)`` over all codes.

        ``exact`` takes one mean over all positions and codebooks. It works on bits and needs no table of all codes for every
        vector, only memory for ``2 ** bits`` values.

        ``clamped`` takes one mean for every codebook and averages over codebooks. It takes ``log(max(p, 1e-5))``, for single
        vectors too, so no entropy exceeds 11.5 nats; that needs the table, slice by slice.

        Returns:
            The mean entropy of an assignment, and the entropy of the mean assignment. The second takes ``log(p + 1e-5)`` in
            the exact form, as upstream does.
        """
        channels = self._split(vectors)
        if self.entropy_form == "exact":
            certain, mean = bit_assignments(rearrange(channels, "b l k g -> (b l k) g") * (4.0 * self._size / self.temperature))
            return certain, entropy(mean, offset_log)
        weight = sign_table(self.bits, self.bit_order, vectors.device) * (2.0 * self._size / self.temperature)
        pairs = [soft_assignments(rows, weight, log=clamped_log) for rows in rearrange(channels, "b l k g -> k (b l) g")]
        return torch.stack([pair[0] for pair in pairs]).mean(), entropy(torch.stack([pair[1] for pair in pairs]), clamped_log).mean()

    @property
    def _size(self) -> float:
        return self.scale / self.bits**0.5 if self.spherical else self.scale

    def _split(self, vectors: Tensor) -> Tensor:
        """Channels of each code, ``[B, L, K, bits]``, on the sphere if there is one."""
        channels = rearrange(single(vectors), f"b l {self.pattern} -> b l k g", k=self.codebooks)
        return unit(channels) * self.scale if self.spherical else channels

    def _merge(self, channels: Tensor) -> Tensor:
        return rearrange(channels, f"b l k g -> b l {self.pattern}")
