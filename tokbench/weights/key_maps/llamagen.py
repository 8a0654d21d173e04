"""From the names of FoundationVision/LlamaGen to those of CompVis/taming-transformers.

    encoder.conv_blocks.i.res.j  ->  encoder.down.i.block.j
    X.mid.0 / 1 / 2              ->  X.mid.block_1 / attn_1 / block_2
    decoder.conv_blocks.i        ->  decoder.up.{n-1-i}                  taming counts from the highest resolution

Source: ``tokenizer/tokenizer_image/vq_model.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from tokbench.weights.key_maps.levels import turned

MIDDLE = {"0": "block_1", "1": "attn_1", "2": "block_2"}

_MIDDLE = re.compile(r"\.mid\.([012])\.")
_ENCODER = re.compile(r"encoder\.conv_blocks\.(\d+)\.")
_DECODER = re.compile(r"decoder\.conv_blocks\.(\d+)\.")


def is_llamagen(state: Mapping[str, Tensor]) -> bool:
    """Whether the tensors are named as LlamaGen names them."""
    return any(key.startswith(("encoder.conv_blocks.", "decoder.conv_blocks.")) for key in state)


def from_llamagen(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename; the decoder's levels, which the file has in the order they run, are counted from the other end.

    Args:
        state: Tensors by LlamaGen's names.

    Returns:
        Tensors by taming's names, in the same order; unknown keys keep theirs.
    """
    renamed = {}
    for key, value in state.items():
        name = _MIDDLE.sub(lambda place: f".mid.{MIDDLE[place[1]]}.", key.replace(".res.", ".block."))
        name = _ENCODER.sub(r"encoder.down.\1.", name)
        renamed[_DECODER.sub(r"decoder.up.\1.", name)] = value
    return turned(renamed)
