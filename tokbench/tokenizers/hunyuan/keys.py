"""From the names of HunyuanImage's autoencoder, Tencent's and diffusers', to ``tokbench.nn.hunyuan``.

encoder.down.i.downsample        encoder.down_blocks.N    ->  encoder.down.i.step       a step ends a level of the flat list
decoder.up.i.block.j             decoder.up_blocks.N      ->  decoder.up.i.block.j      both count from the lowest resolution
X.mid.attn_1.q                   X.mid_block.attentions.0.to_q                          ->  X.mid.attn_1.q
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping

from torch import Tensor

RENAMES = (
    (r"\.(?:downsample|upsample)\.", ".step."),
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.", ".mid.attn_1."),
    (r"\.attn_1\.to_([qkv])\.", r".attn_1.\1."),
    (r"\.attn_1\.proj\.", ".attn_1.proj_out."),
)
"""Patterns and what they become, applied in this order."""

_FLAT = re.compile(r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(.+)")


def from_hunyuan(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename.

    Args:
        state: Tensors by the names of Tencent or of diffusers.

    Returns:
        Tensors by ours, in the same order; unknown keys keep theirs.
    """
    flat = [match for key in state if (match := _FLAT.fullmatch(key))]
    steps = {
        network: sorted({int(match[3]) for match in flat if match[1] == network and match[4].startswith("conv.")})
        for network in ("encoder", "decoder")
    }
    renamed = {}
    for key, value in state.items():
        name = key
        for pattern, replacement in RENAMES:
            name = re.sub(pattern, replacement, name)
        if match := _FLAT.fullmatch(name):
            ends, number = steps[match[1]], int(match[3])
            level = bisect_left(ends, number)
            place = "step" if number in ends else f"block.{number - (ends[level - 1] + 1 if level else 0)}"
            name = f"{match[1]}.{match[2]}.{level}.{place}.{match[4]}"
        renamed[name] = value
    return renamed
