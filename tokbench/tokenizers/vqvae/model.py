"""VQ-VAE. Paper: van den Oord et al., "Neural Discrete Representation Learning", 2017.

    images -> encoder -> nearest of K codes -> decoder -> images        loss: squared error + commitment

The autoencoder is VQGAN's rather than the paper's, so that the two differ in their losses alone.
"""

from __future__ import annotations

from tokbench.tokenizers.conv_vq.model import ConvVQTokenizer


class VQVAE(ConvVQTokenizer):
    """Convolutional VQ tokenizer trained on squared error."""
