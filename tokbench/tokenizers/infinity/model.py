"""Infinity's tokenizer. Paper: Han et al., "Infinity: Scaling Bitwise AutoRegressive Modeling for High-Resolution Image Synthesis", 2024.

    images -> encoder -> signs on a sphere, scale by scale -> decoder -> images

The network is latent diffusion's without attention, and nothing lies between it and the signs. A code has the first channel for its
highest bit; many bits of a position are several codes, runs of its channels. Outputs equal those of the published code under random
weights. Whether the published files have its names, or those of its 2D layers alone, is unverified; both are read.
"""

from __future__ import annotations

import re

from torch import Tensor

from tokbench.tokenizers.multiscale.model import MultiScaleTokenizer

_WRAPPED = re.compile(r"\.(?:(conv\w*|nin_shortcut)\.conv|(norm\w*)\.norm)\.(weight|bias)$")
_MASKS = ("quantizer.lfq.mask", "quantize.lfq.mask")


class Infinity(MultiScaleTokenizer):
    """Multi-scale tokenizer whose codes are the signs of all channels."""

    @classmethod
    def own_names(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of taming-transformers; upstream wraps every convolution and normalisation, and keeps the places of bits."""
        return {
            _WRAPPED.sub(lambda found: f".{found[1] or found[2]}.{found[3]}", key): value
            for key, value in state.items()
            if key not in _MASKS
        }
