"""Binary spherical quantization: vectors of length 1 to the corners of a cube inside the sphere.

Source: Zhao et al., "Image and Video Tokenization with Binary Spherical Quantization", sections 3.2 and 3.3, as in
zhaoyue-zephyrus/bsq-vit.
"""

from __future__ import annotations

from functools import partial

import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor

from tokbench.quantizers.base import Quantized, Quantizer, single, straight_through, unit
from tokbench.quantizers.configs import BSQ, SphereEntropy
from tokbench.quantizers.entropy import entropy, mean_assignment, offset_log, soft_assignments
from tokbench.quantizers.signs import pack_signs, sign_table, unpack_signs

LOG = partial(offset_log, eps=1e-8)


class BinarySphericalQuantizer(Quantizer):
    """Signs of ``bits`` channels, over ``sqrt(bits)``, as one code or as one code a group of channels.

    Zero counts as negative. The first channel is the most significant bit; a group is a run of channels. Codes come from sign
    bits: upstream sums them in single precision, so its numbers of more than 24 bits are off in the lowest ones. The gradient
    passes straight through the signs and is scaled as they are, as upstream's is.

    Published settings: 18 bits with entropies in groups of 9, or analytical; 36 bits, analytical. Their files set beta to 0,
    but the published model overwrites it with 0.25 before its quantizer is made.

    Args:
        bits: Channels.
        codes_per_position: K; each code is of ``bits / K`` bits.
        commitment_weight: Upstream's beta, of the mean squared length of the difference.
        entropy_weight: Upstream's zeta, of the entropy term ``sample_weight * certain - diversity_weight * used``.
        sample_weight: Upstream's gamma0.
        diversity_weight: Upstream's gamma.
        temperature: Temperature of the soft assignment that the entropies are taken of, and a factor of the entropy term; upstream has
            its inverse.
        entropy_form: How the entropies are taken, see ``entropies``.
        group_size: Bits of a group in the group form.
        normalize: Project vectors onto the sphere first; without effect on vectors that already are there.
        unit_codes: Have the codes on the sphere; else they are -1 or 1.

    Raises:
        ValueError: If there are no bits or more than 62 in a code, the form is unknown, or the temperature is not positive. If K or, in
            the group form, the group size does not divide the bits.
    """

    def __init__(
        self,
        bits: int,
        *,
        codes_per_position: int = 1,
        commitment_weight: float = 0.25,
        entropy_weight: float = 1.0,
        sample_weight: float = 1.0,
        diversity_weight: float = 1.0,
        temperature: float = 1.0,
        entropy_form: SphereEntropy = "group",
        group_size: int = 9,
        normalize: bool = True,
        unit_codes: bool = True,
    ) -> None:
        super().__init__()
        settings = BSQ(
            bits,
            codes_per_position,
            commitment_weight,
            entropy_weight,
            sample_weight,
            diversity_weight,
            temperature,
            entropy_form,
            group_size,
            normalize,
            unit_codes,
        )
        self.codebook_sizes = settings.codebook_sizes
        self.bits, self.bits_per_code = bits, bits // codes_per_position
        self.commitment_weight, self.entropy_weight = commitment_weight, entropy_weight
        self.sample_weight, self.diversity_weight = sample_weight, diversity_weight
        self.temperature, self.entropy_form, self.group_size = temperature, entropy_form, group_size
        self.normalize = normalize
        self.size = bits**-0.5 if unit_codes else 1.0

    def forward(self, vectors: Float[Tensor, "b l d"]) -> Quantized:
        """Quantize vectors; losses are ``entropy`` and ``commitment``."""
        codes = self.codes(vectors)  # of the vectors as they come: on the sphere the smallest of them are 0
        vectors = self._placed(vectors)
        quantized = self.lookup(codes)
        certain, used = self.entropies(vectors)
        losses = {
            "entropy": self.entropy_weight * self.temperature * (self.sample_weight * certain - self.diversity_weight * used),
            "commitment": self.commitment_weight * (quantized - vectors).square().sum(dim=-1).mean(),
        }
        return Quantized(straight_through(vectors, quantized / self.size) * self.size, codes, losses)

    def codes(self, vectors: Float[Tensor, "b l d"]) -> Int64[Tensor, "b l k"]:
        """Pack signs into codes, without losses."""
        return pack_signs(rearrange(single(vectors), "b l (k g) -> b l k g", g=self.bits_per_code), "high")

    def lookup(self, codes: Int64[Tensor, "b l k"]) -> Float[Tensor, "b l d"]:
        """Return the corners that codes stand for."""
        return rearrange(unpack_signs(codes, self.bits_per_code, "high"), "b l k g -> b l (k g)") * self.size

    def entropies(self, vectors: Float[Tensor, "b l d"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Entropies in nats of the soft assignment ``softmax(2 x . code / temperature)``, with ``log(p + 1e-8)``.

        Both forms take the channels apart, into groups or into single bits (``analytical``), and sum over the parts. For a
        single vector that is the entropy over all codes, for the mean assignment an upper bound of it.

        Returns:
            The mean entropy of an assignment, and the entropy of the mean assignment.
        """
        vectors = self._placed(vectors)
        if self.entropy_form == "analytical":
            logits = rearrange(vectors, "b l g -> (b l) g") * (4.0 * self.size / self.temperature)
            bits = torch.stack([(-logits).sigmoid(), logits.sigmoid()], dim=-1)
            return entropy(bits, LOG).sum(dim=1).mean(), entropy(mean_assignment(bits.sum(dim=0), len(bits)), LOG).sum()
        weight = sign_table(self.group_size, "high", vectors.device) * (2.0 * self.size / self.temperature)
        groups = rearrange(vectors, "b l (k g) -> k (b l) g", g=self.group_size)
        pairs = [soft_assignments(group, weight, log=LOG) for group in groups]
        return torch.stack([pair[0] for pair in pairs]).sum(), entropy(torch.stack([pair[1] for pair in pairs]), LOG).sum()

    def _placed(self, vectors: Tensor) -> Tensor:
        return unit(single(vectors)) if self.normalize else single(vectors)
