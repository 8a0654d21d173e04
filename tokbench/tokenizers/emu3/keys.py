"""Names of the published tensors: from the layout of baaivision/Emu3 to that of huggingface/transformers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

RENAMES = (
    (r"^(encoder|decoder)\.mid\.", r"\1.middle_block."),
    (r"^encoder\.down\.", "encoder.down_block.down."),
    (r"^decoder\.up\.", "decoder.up_block.up."),
    (r"\.attn_1\.norm\.", ".attn_norm."),
    (r"\.attn\.(\d+)\.norm\.", r".attn_norms.\1."),
    (r"(\.attn_1|\.attn\.\d+)\.([qkv])\.", r"\1.\2_proj."),
    (r"(\.attn_1|\.attn\.\d+)\.proj_out\.", r"\1.out_proj."),
)
"""Pattern and replacement, applied in turn; none of them matches a name of the new layout."""


def transformers_layout(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors, and make linear weights of attention's 1x1 convolutions.

    Args:
        state: Tensors in either layout.

    Returns:
        Tensors by the names of ``Emu3VQVAE``; what is in that layout already, and what belongs to neither, is left alone.
    """
    renamed = {}
    for key, value in state.items():
        name = key
        for pattern, replacement in RENAMES:
            name = re.sub(pattern, replacement, name)
        convolution = name.endswith("_proj.weight") and value.ndim == 4
        renamed[name] = value.flatten(1) if convolution else value
    return renamed
