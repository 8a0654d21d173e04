"""The image tokenizer of Janus and Janus-Pro. Paper: Wu et al., "Janus: Decoupling Visual Encoding for Unified Multimodal Understanding
and Generation", 2024.

    images -> encoder -> quant_conv -> nearest of K directions -> post_quant_conv -> decoder -> images

The network and the quantizer of LlamaGen, in a file of the whole model. That of deepseek-ai has LlamaGen's names; that of
huggingface/transformers has VQGAN's, with the decoder's levels in the order they run. The class ``JanusVQVAE`` of the latter compares
vectors without normalising them, so its ids are these only where all codes are of length 1.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from tokbench.tokenizers.conv_vq.model import ConvVQTokenizer
from tokbench.weights.key_maps.levels import turned
from tokbench.weights.key_maps.taming import to_taming


class Janus(ConvVQTokenizer):
    """Convolutional VQ tokenizer whose codes are unit vectors, alone or within a language model."""

    bundles: ClassVar[tuple[str, ...]] = ("gen_vision_model", "vqmodel")

    @classmethod
    def own_names(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of taming-transformers; the levels of transformers' decoder are counted from the other end."""
        if "decoder.up.0.upsample.conv.weight" in state:  # only the last level, which taming counts as 0, doubles nothing
            return turned(state)
        return to_taming(state)
