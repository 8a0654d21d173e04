"""From the names of Wan's and Qwen-Image's autoencoders, and their kernels over time, to ``tokbench.nn.wan`` on stills.

    encoder.downsamples.N        encoder.down_blocks.N             ->  encoder.down.i.block.j or .step      a step ends a level
    decoder.upsamples.N          decoder.up_blocks.i.resnets.j     ->  decoder.up.{n-1-i}.block.j
    X.middle.0 / 1 / 2           X.mid_block.resnets / attentions  ->  X.mid.block_1 / attn_1 / block_2     queries, keys, values apart
    conv1, conv2                 quant_conv, post_quant_conv       ->  quant_conv, post_quant_conv
    weight [O, I, T, H, W]                                         ->  its last slice [O, I, H, W]
    time_conv                                                      ->  nothing: layers over time pass one frame by

The first column is Wan-Video's own files, the second those of diffusers. Of Wan 2.2 both have a list in a list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor

RENAMES = (
    (r"^conv1\.", "quant_conv."),
    (r"^conv2\.", "post_quant_conv."),
    (r"^(encoder|decoder)\.conv1\.", r"\1.conv_in."),
    (r"\.head\.0\.", ".norm_out."),
    (r"\.head\.2\.", ".conv_out."),
    (r"\.(?:middle\.0|mid_block\.resnets\.0)\.", ".mid.block_1."),
    (r"\.(?:middle\.1|mid_block\.attentions\.0)\.", ".mid.attn_1."),
    (r"\.(?:middle\.2|mid_block\.resnets\.1)\.", ".mid.block_2."),
    (r"\.residual\.0\.", ".norm1."),
    (r"\.residual\.2\.", ".conv1."),
    (r"\.residual\.3\.", ".norm2."),
    (r"\.residual\.6\.", ".conv2."),
    (r"\.(?:conv_)?shortcut\.", ".nin_shortcut."),
    (r"\.proj\.", ".proj_out."),
    (r"\.gamma$", ".weight"),
    (r"^encoder\.(?:downsamples|down_blocks)\.", "encoder.steps."),
    (r"^decoder\.(?:upsamples|up_blocks)\.", "decoder.steps."),
    (r"\.(?:downsampler|upsampler|upsamplers\.0)\.resample\.1\.", ".step.conv."),
    (r"\.steps\.(\d+)\.(?:downsamples|upsamples)\.\d+\.resample\.1\.", r".steps.\1.step.conv."),
    (r"\.steps\.(\d+)\.(?:downsamples|upsamples|resnets)\.", r".steps.\1.block."),
    (r"\.resample\.1\.", ".step.conv."),
)
"""Patterns and what they become, applied in this order; ``steps`` are levels or, in a flat list, blocks and steps."""

_STEPS = re.compile(r"(encoder|decoder)\.steps\.(\d+)\.(.+)")


def is_wan(state: Mapping[str, Tensor]) -> bool:
    """Whether the tensors are named as Wan or diffusers name those of Wan's and Qwen-Image's autoencoders."""
    return any(key.endswith(".gamma") for key in state)


def from_wan(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename, take the last slice of kernels over time, and leave out the layers that pass one frame by.

    Args:
        state: Tensors by the names of Wan or of diffusers.

    Returns:
        Tensors by the names of ``tokbench.nn.wan``; unknown keys keep theirs.
    """
    if not is_wan(state):
        return dict(state)
    named = {}
    for key, value in state.items():
        name = key
        for pattern, replacement in RENAMES:
            name = re.sub(pattern, replacement, name)
        if ".time_conv." not in name:
            named[name] = value.flatten() if key.endswith(".gamma") else value[:, :, -1] if value.ndim == 5 else value
    places = {network: _places(named, network) for network in ("encoder", "decoder")}
    renamed: dict[str, Tensor] = {}
    for name, value in named.items():
        if found := _STEPS.fullmatch(name):
            network, rest = found[1], found[3]
            level, block = places[network][int(found[2])]
            place = rest if block is None or rest.startswith("step.") else f"block.{block}.{rest}"
            name = f"{network}.{'down' if network == 'encoder' else 'up'}.{level}.{place}"
        if ".to_qkv." in name:
            renamed |= {name.replace("to_qkv", part): third for part, third in zip("qkv", value.chunk(3), strict=True)}
        else:
            renamed[name] = value
    return renamed


def _places(names: Mapping[str, Tensor], network: str) -> dict[int, tuple[int, int | None]]:
    """Level and, in a flat list, the place in it, by number; the decoder's levels are counted from the highest resolution."""
    found = [match for name in names if (match := _STEPS.fullmatch(name)) and match[1] == network]
    numbers = sorted({int(match[2]) for match in found})
    where: dict[int, tuple[int, int | None]] = {}
    if any(match[3].startswith("block.") for match in found):
        where = {number: (level, None) for level, number in enumerate(numbers)}
    else:
        ends = sorted({int(match[2]) for match in found if match[3].startswith("step.")})
        starts = [0, *(end + 1 for end in ends), max(numbers, default=0) + 1]
        for level, (start, stop) in enumerate(pairwise(starts)):
            where |= {number: (level, number - start) for number in range(start, stop)}
    last = max((level for level, _ in where.values()), default=0)
    return where if network == "encoder" else {number: (last - level, block) for number, (level, block) in where.items()}
