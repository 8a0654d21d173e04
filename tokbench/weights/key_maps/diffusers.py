"""Between the names of diffusers' ``AutoencoderKL`` and ``VQModel`` and those of CompVis/taming-transformers.

    encoder.down_blocks.i.resnets.j      ->  encoder.down.i.block.j
    encoder.down_blocks.i.downsamplers.0 ->  encoder.down.i.downsample
    encoder.mid_block.attentions.0       ->  encoder.mid.attn_1          attention: Linear [C, C] -> 1x1 convolution
    decoder.up_blocks.i                  ->  decoder.up.{n-1-i}          taming counts from the highest resolution

The names are those of diffusers 0.42; older files name the layers of attention otherwise, as its own table of renamed keys has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.weights.key_maps.levels import turned

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

RENAMES_BACK = (
    (r"^(encoder\.)down\.", r"\1down_blocks."),
    (r"^(decoder\.)up\.", r"\1up_blocks."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.", ".mid_block.attentions.0."),
    (r"(_blocks\.\d+)\.block\.", r"\1.resnets."),
    (r"(_blocks\.\d+)\.attn\.", r"\1.attentions."),
    (r"\.downsample\.", ".downsamplers.0."),
    (r"\.upsample\.", ".upsamplers.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.norm_out\.", ".conv_norm_out."),
)
"""Pairs of pattern and words that turn our names into those of diffusers."""

ATTENTION_BACK = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}

_TAMING = re.compile(r"(encoder\.(down\.\d+\.block|mid\.block_1)|decoder\.(up\.\d+\.block|mid\.block_1))\.")
_ATTENTION_BLOCK = re.compile(r"(.*\.attentions\.\d+\.)(\w+)\.(weight|bias)")
_ATTENTION_LAYER = re.compile(r"(.*\.attn(?:_1|\.\d+)\.)(.+)\.(weight|bias)")


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
    return turned(renamed)


def is_taming(state: Mapping[str, Tensor]) -> bool:
    """Whether the tensors are named as taming-transformers and latent-diffusion name them."""
    return any(_TAMING.match(key) for key in state)


def to_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the other way, and turn the 1x1 convolutions of attention into matrices.

    Args:
        state: Tensors by taming's names.

    Returns:
        Tensors by diffusers' names of today, in the same order; unknown keys keep theirs.
    """
    renamed = {}
    for key, value in state.items():
        name = key
        for pattern, replacement in RENAMES_BACK:
            name = re.sub(pattern, replacement, name)
        layer = _ATTENTION_BLOCK.fullmatch(name)
        if layer and layer[2] in ATTENTION_BACK:
            name = f"{layer[1]}{ATTENTION_BACK[layer[2]]}.{layer[3]}"
            value = value.flatten(1) if value.ndim == 4 else value
        renamed[name] = value
    return turned(renamed, "decoder.up_blocks")


def check_settings(settings: Mapping[str, Any], groups: int, place: Path) -> None:
    """Refuse what a ``config.json`` sets otherwise than here, and no shape shows.

    Args:
        settings: Settings of a model of diffusers; of anything else nothing is looked at.
        groups: Groups of the normalisations here.
        place: What to call it in errors.

    Raises:
        TokbenchError: If the network would compute something else; says what loads it.
    """
    kinds = {"AutoencoderKL": "diffusers/kl", "VQModel": "diffusers/vq", "AutoencoderKLFlux2": "diffusers/flux2"}
    name = settings.get("_class_name")
    if not isinstance(name, str) or name not in kinds:
        return
    known = {"norm_num_groups": 32, "act_fn": "silu", "norm_type": "group"} | dict(settings)
    if known["act_fn"] == "swish":
        known["act_fn"] = "silu"
    check_same(known, {"norm_num_groups": groups, "act_fn": "silu", "norm_type": "group"}, place, kinds[name])


def check_same(settings: Mapping[str, Any], own: Mapping[str, object], place: Path, adapter: str) -> None:
    """Refuse settings that differ from those of a network here; what they do not say is taken to be so.

    Args:
        settings: Settings of a model of another library.
        own: Those of the network here that no shape of a tensor shows, by the library's names.
        place: What to call them in errors.
        adapter: Name of the tokenizer that heeds them.

    Raises:
        TokbenchError: If one differs; says what loads it.
    """
    for key, value in own.items():
        found = settings.get(key, value)
        if found != value:
            raise TokbenchError(f"{place} sets {key} to {str(found)[:40]}, here it is {value}; load it as {adapter}")
