"""Open implementations of MAGVIT-v2's tokenizer, on images. Papers: Yu et al., "Language Model Beats Diffusion", 2023; Luo et al.,
"Open-MAGVIT2", 2024; Xie et al., "Show-o", 2024.

    images -> encoder -> signs of the channels, the bits of a code -> decoder -> images

Open-MAGVIT2 has a network of its own, see ``tokbench.nn.magvit2``, and the first channel is the lowest bit. Show-o has VQGAN's network
with levels of unlike depth, and the first channel is the highest bit. Parameter names are those of the published checkpoints; Show-o's
1x1 convolutions stand within its encoder and decoder, and are renamed. Sources: TencentARC/SEED-Voken
``src/Open_MAGVIT2/models/lfqgan.py``; showlab/Show-o ``models/modeling_magvitv2.py``.
"""

from __future__ import annotations

from torch import Tensor

from tokbench.tokenizers.conv_vq.model import ConvVQTokenizer
from tokbench.weights.key_maps.taming import to_taming

TABLES = ("quantize.embedding", "quantize.power_vals")
"""The signs of all codes and the values of all bits, which Show-o's file holds."""


class MAGVIT2(ConvVQTokenizer):
    """Convolutional tokenizer whose codes are signs, without a codebook to learn."""

    @classmethod
    def own_names(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of Open-MAGVIT2, or of taming-transformers where the network is VQGAN's."""
        return {key: value for key, value in to_taming(state).items() if key not in TABLES}
