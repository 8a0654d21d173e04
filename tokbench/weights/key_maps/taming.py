"""Whatever layout a file of the convolutional autoencoder has, its tensors under the names of CompVis/taming-transformers.

layout              told by                    written by
taming              neither of the below       taming-transformers, latent-diffusion, Flux, this package
diffusers           encoder.down_blocks        diffusers AutoencoderKL and VQModel, old and new names of attention
llamagen            encoder.conv_blocks        FoundationVision/LlamaGen
maskgit             upsample_conv              bytedance/1d-tokenizer, markweberdev/maskbit
"""

from __future__ import annotations

from torch import Tensor

from tokbench.weights.key_maps.diffusers import from_diffusers, is_diffusers
from tokbench.weights.key_maps.llamagen import from_llamagen, is_llamagen
from tokbench.weights.key_maps.maskgit import from_maskgit, is_maskgit


def to_taming(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a published file, if they need it.

    Args:
        state: Tensors by the file's names, without a prefix.

    Returns:
        The same tensors by taming's names; a key that no layout knows keeps its name, so that strict loading names it.
    """
    if is_diffusers(state):
        return from_diffusers(state)
    if is_llamagen(state):
        return from_llamagen(state)
    if is_maskgit(state):
        return from_maskgit(state)
    return dict(state)
