"""From the names of diffusers' ``AutoencoderKL`` and ``VQModel`` to those of CompVis/taming-transformers.

    encoder.down_blocks.i.resnets.j      ->  encoder.down.i.block.j
    encoder.down_blocks.i.downsamplers.0 ->  encoder.down.i.downsample
    encoder.mid_block.attentions.0       ->  encoder.mid.attn_1          attention: Linear [C, C] -> 1x1 convolution
    decoder.up_blocks.i                  ->  decoder.up.{n-1-i}          taming counts from the highest resolution

The names are those of diffusers 0.42; older files name the layers of attention otherwise, as its own table of renamed keys has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

RENAMES = (
    (r"\.(down|up)_blocks\.", r".\1."),
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.attentions\.0\.", ".mid.attn_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.resnets\.", ".block."),
    (r"\.attentions\.", ".attn."),
    (r"\.downsamplers\.0\.", ".downsample."),
    (r"\.upsamplers\.0\.", ".upsample."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.conv_norm_out\.", ".norm_out."),
)
"""Patterns and what they become, applied in this order."""

ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
    "query": "q",
    "key": "k",
    "value": "v",
    "proj_attn": "proj_out",
}
"""Layers of an attention block: the names of today and, from ``query`` on, those of older files."""

_ATTENTION_LAYER = re.compile(r"(.*\.attn(?:_1|\.\d+)\.)(.+)\.(weight|bias)")
_UP = re.compile(r"decoder\.up\.(\d+)\.")


def is_diffusers(state: Mapping[str, Tensor]) -> bool:
    """Whether the tensors are named as diffusers names them."""
    return any(key.startswith(("encoder.down_blocks.", "decoder.up_blocks.")) for key in state)


def from_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename, and turn the matrices of attention into 1x1 convolutions.

    Args:
        state: Tensors by diffusers' names.

    Returns:
        Tensors by taming's names, in the same order; unknown keys keep theirs.
    """
    renamed = {}
    for key, value in state.items():
        name = key
        for pattern, replacement in RENAMES:
            name = re.sub(pattern, replacement, name)
        layer = _ATTENTION_LAYER.fullmatch(name)
        if layer and layer[2] in ATTENTION:
            name = f"{layer[1]}{ATTENTION[layer[2]]}.{layer[3]}"
            value = value[:, :, None, None] if layer[3] == "weight" and value.ndim == 2 else value
        renamed[name] = value
    levels = 1 + max((int(level[1]) for key in renamed if (level := _UP.match(key))), default=0)
    return {_UP.sub(lambda level: f"decoder.up.{levels - 1 - int(level[1])}.", key): value for key, value in renamed.items()}
