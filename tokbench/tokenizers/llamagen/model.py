"""LlamaGen's tokenizer. Paper: Sun et al., "Autoregressive Model Beats Diffusion: Llama for Scalable Image Generation", 2024.

    images -> encoder -> quant_conv -> nearest of K directions -> post_quant_conv -> decoder -> images
                                                                                          |-- squared error, LPIPS, PatchGAN

Layer by layer the network of VQGAN, with attention at the lowest level. Codes are few values wide and compared after
normalisation, which keeps nearly all of them in use. Parameter names are VQGAN's; files of FoundationVision/LlamaGen are renamed
on reading.
"""

from __future__ import annotations

from tokbench.tokenizers.conv_vq.model import ConvVQTokenizer


class LlamaGen(ConvVQTokenizer):
    """Convolutional VQ tokenizer whose codes are unit vectors."""
