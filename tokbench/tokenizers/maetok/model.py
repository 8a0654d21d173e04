"""MAETok. Paper: Chen et al., "Masked Autoencoders Are Effective Tokenizers for Diffusion Models", 2025.

    image patches --+                            +-- mask tokens ---------------+
                    +-> encoder -> N latents ----+-> N vectors -----------------+-> decoder -> patches
    N latent tokens +                            +-> scale and shift in blocks -+

The networks of SoftVQ-VAE without codes. Queries and keys of patches are turned by learned frequencies. In training patches of the encoder are
masked, and more decoders draw features of other networks; neither is left afterwards. Parameter names are those of
Hhhhhhao/continuous_tokenizer ``modelling/tokenizer.py``, but for its transformers, whose blocks have CLIP's.
"""

from __future__ import annotations

import re

from tokbench.tokenizers.maetok.config import MAETokConfig
from tokbench.tokenizers.softvq.model import UNUSED, Decoder, Encoder, SequenceTokenizer

TRAINING = (
    r"encoder\.mask_token$|(post_quant_conv|decoder|to_pixel)_(hog|dino|clip|supcls)\.|(clip_model|hog_generator)\."
    r"|(encoder|decoder)\.freqs_t_[xy]$|decoder\.model\.(pos_embed$|norm\.adaLN_modulation\.)"
)
"""Beginnings of names of masks and other decoders, places of patches, and what the decoder has but for tokens that nobody reads."""


class MAETok(SequenceTokenizer):
    """Transformer tokenizer with a 1D sequence of continuous latents, for images of one size.

    Args:
        config: Shape of the networks.
    """

    config: MAETokConfig
    unused = re.compile(f"{UNUSED.pattern}|{TRAINING}")

    def __init__(self, config: MAETokConfig) -> None:
        condition = config.channels if config.conditioned else 0
        decoder = Decoder(config, class_token=config.class_token, turned=True, condition=condition)
        super().__init__(config, Encoder(config, turned=True), decoder)
