"""Whatever layout a file of the convolutional autoencoder has, its tensors under the names of CompVis/taming-transformers.

layout              told by                    written by
taming              neither of the below       taming-transformers, latent-diffusion, Flux, this package
diffusers           encoder.down_blocks        diffusers AutoencoderKL and VQModel, old and new names of attention
llamagen            encoder.conv_blocks        FoundationVision/LlamaGen
maskgit             upsample_conv              bytedance/1d-tokenizer, markweberdev/maskbit
"""

from __future__ import annotations

import re

from torch import Tensor

from tokbench.weights.key_maps.diffusers import from_diffusers, is_diffusers
from tokbench.weights.key_maps.llamagen import from_llamagen, is_llamagen
from tokbench.weights.key_maps.maskgit import from_maskgit, is_maskgit

_WITHIN = re.compile(r"^(?:encoder\.(?=quant_conv\.)|decoder\.(?=post_quant_conv\.))")
"""What stands before the 1x1 convolutions around the code where they are within the encoder and the decoder (Show-o, FLUX.2)."""


def to_taming(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a published file, if they need it.

    Args:
        state: Tensors by the file's names, without a prefix.

    Returns:
        The same tensors by taming's names; a key that no layout knows keeps its name, so that strict loading names it.
    """
    if is_diffusers(state):
        renamed = from_diffusers(state)
    elif is_llamagen(state):
        renamed = from_llamagen(state)
    elif is_maskgit(state):
        renamed = from_maskgit(state)
    else:
        renamed = dict(state)
    return {_WITHIN.sub("", key): value for key, value in renamed.items()}
