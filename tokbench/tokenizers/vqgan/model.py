"""VQGAN. Paper: Esser, Rombach and Ommer, "Taming Transformers for High-Resolution Image Synthesis", 2021.

    images -> encoder -> nearest of K codes -> decoder -> images
                                                            |-- absolute error, LPIPS, PatchGAN hinge loss

Checkpoints of CompVis/taming-transformers and CompVis/latent-diffusion have this class's parameter names; those of diffusers'
VQModel are renamed on reading. In the Gumbel variant a linear layer scores the codes; encoding takes the best one, where upstream
adds noise to the scores even in evaluation.
"""

from __future__ import annotations

from tokbench.tokenizers.conv_vq.model import ConvVQTokenizer


class VQGAN(ConvVQTokenizer):
    """Convolutional VQ tokenizer trained with perceptual and adversarial losses."""
