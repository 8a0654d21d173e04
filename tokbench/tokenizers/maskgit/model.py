"""MaskGIT's tokenizer. Paper: Chang et al., "MaskGIT: Masked Generative Image Transformer", 2022.

    images -> encoder -> nearest of K codes -> decoder -> images

VQGAN's network without attention, with a design of its own (``AutoencoderConfig.design``), and no convolutions around the code. The
published weights are ports to PyTorch of those of google-research/maskgit; their names become VQGAN's on reading.
"""

from __future__ import annotations

from tokbench.tokenizers.conv_vq.model import ConvVQTokenizer


class MaskGIT(ConvVQTokenizer):
    """Convolutional VQ tokenizer without attention."""
