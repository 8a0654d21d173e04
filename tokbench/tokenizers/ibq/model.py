"""IBQ's tokenizer. Paper: Shi et al., "Scalable Image Tokenization with Index Backpropagation Quantization", 2024.

    images -> encoder -> quant_conv -> row with the largest product -> post_quant_conv -> decoder -> images

The network of VQGAN with twice its residual blocks. Parameter names are VQGAN's. Published checkpoints hold raw weights and averages,
whose names have lost their dots; the averages are what was evaluated, and are taken. Source: TencentARC/SEED-Voken
``src/IBQ/models/ibqgan.py``.
"""

from __future__ import annotations

from tokbench.tokenizers.conv_vq.model import ConvVQTokenizer


class IBQTokenizer(ConvVQTokenizer):
    """Convolutional tokenizer that takes the codebook row with the largest product."""
