"""VAR's tokenizer. Paper: Tian et al., "Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale Prediction", 2024.

    images -> encoder -> quant_conv 3x3 -> nearest of K codes, scale by scale -> post_quant_conv 3x3 -> decoder -> images

The network is VQGAN's with attention at the lowest level. Enlarged maps are blended with a convolution that neighbouring scales share.
"""

from __future__ import annotations

import re

from torch import Tensor

from tokbench.tokenizers.multiscale.model import MultiScaleTokenizer
from tokbench.weights.key_maps.taming import to_taming

RENAMES = (
    (r"^quantize\.embedding\.", "quantize.each.embedding."),
    (r"^quantize\.quant_resi\.(?:qresi_ls\.)?(\d+)\.", r"quantize.blends.\1."),
    (r"^quantize\.quant_resi\.qresi\.", "quantize.blends.0."),
)
"""Pattern of FoundationVision/VAR ``models/quant.py`` and what it becomes."""

_QKV = re.compile(r"(.+\.attn(?:_1|\.\d+)\.)qkv\.(weight|bias)")


class VAR(MultiScaleTokenizer):
    """Multi-scale tokenizer with one learned codebook for all scales."""

    @classmethod
    def own_names(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of taming-transformers for the network; the published file holds queries, keys and values of attention in one."""
        renamed = {}
        for key, value in to_taming(state).items():
            name = key
            for pattern, replacement in RENAMES:
                name = re.sub(pattern, replacement, name)
            fused = _QKV.fullmatch(name)
            if fused is None or not value.ndim or len(value) % 3:
                renamed[name] = value
                continue
            for layer, part in zip("qkv", value.chunk(3), strict=True):
                renamed[f"{fused[1]}{layer}.{fused[2]}"] = part
        return renamed
