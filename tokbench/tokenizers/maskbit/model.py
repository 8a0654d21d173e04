"""VQGAN+ and MaskBit. Paper: Weber et al., "MaskBit: Embedding-free Image Generation via Bit Tokens", 2024.

    images -> encoder -> signs of 10 to 18 channels, or nearest of K codes -> decoder -> images

MaskGIT's network whose encoder halves maps by convolutions. VQGAN+ has a codebook; MaskBit has one bit a channel, the first the least
significant. Names of markweberdev/maskbit ``modeling/conv_vqgan.py`` become VQGAN's on reading.
"""

from __future__ import annotations

from tokbench.tokenizers.conv_vq.model import ConvVQTokenizer


class MaskBit(ConvVQTokenizer):
    """Convolutional tokenizer without attention, whose codes are bits."""
