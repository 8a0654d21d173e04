"""From the names of MaskGIT's ports to PyTorch to those of CompVis/taming-transformers.

    X.res_blocks.j               ->  X.block.j                           markweberdev/maskbit; bytedance/1d-tokenizer has taming's name
    X.mid.j                      ->  X.mid.block_{j+1}
    encoder.down.i.down_conv     ->  encoder.down.i.downsample.conv
    decoder.up.i.upsample_conv   ->  decoder.up.i.upsample.conv
    decoder.up.i                 ->  decoder.up.{n-1-i}                  where the file has levels in the order they run
    quantize.codebook, quantize.bits_to_indices                          left out: tables of what follows from the number of bits

Sources: ``modeling/modules/maskgit_vqgan.py`` of the one, ``modeling/modules/autoencoder.py`` of the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from tokbench.weights.key_maps.levels import turned

NAMES = {".res_blocks.": ".block.", ".down_conv.": ".downsample.conv.", ".upsample_conv.": ".upsample.conv."}

TABLES = ("quantize.codebook", "quantize.bits_to_indices")
"""All codes of a lookup-free quantizer, and the places of its bits."""

_MIDDLE = re.compile(r"\.mid\.(?:block\.)?(\d+)\.")


def is_maskgit(state: Mapping[str, Tensor]) -> bool:
    """Whether the tensors, or those of a decoder among them, are named as MaskGIT's ports name them."""
    return any(".upsample_conv." in key for key in state)


def from_maskgit(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename; where the lowest resolution is level 0 of the decoder, levels are counted from the other end.

    Args:
        state: Tensors by the ports' names; a decoder may lie under a longer name, such as ``pixel_decoder``.

    Returns:
        Tensors by taming's names, in the same order, without ``TABLES``; unknown keys keep theirs.
    """
    runs_up = any("decoder.up.0.upsample_conv." in key for key in state)  # the highest resolution alone has none
    renamed = {}
    for key, value in state.items():
        if key in TABLES:
            continue
        name = key
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        renamed[_MIDDLE.sub(lambda place: f".mid.block_{int(place[1]) + 1}.", name)] = value
    return turned(renamed) if runs_up else renamed
