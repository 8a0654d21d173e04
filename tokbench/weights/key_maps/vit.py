"""From the names that timm gives a transformer's blocks to those of openai/CLIP.

norm1, norm2                  ->  ln_1, ln_2
attn.qkv, attn.proj           ->  attn.in_proj_weight and attn.in_proj_bias, attn.out_proj
mlp.fc1, mlp.fc2              ->  mlp.c_fc, mlp.c_proj
ls1.gamma, ls2.gamma          ->  ls_1, ls_2
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

RENAMES = (
    (r"\.norm([12])\.", r".ln_\1."),
    (r"\.attn\.qkv\.", ".attn.in_proj_"),
    (r"\.attn\.proj\.", ".attn.out_proj."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    (r"\.ls([12])\.gamma$", r".ls_\1"),
)
"""Patterns and what they become; no name has two of them."""


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the layers of blocks.

    Args:
        state: Tensors by timm's names, or any others.

    Returns:
        The same tensors in the same order; what is not of blocks keeps its name.
    """
    renamed = {}
    for key, value in state.items():
        name = key
        for pattern, replacement in RENAMES:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed
