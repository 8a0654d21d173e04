"""More blocks for a trained network, which computes the same as before until it is trained on."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch

from tokbench.errors import TokbenchError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BLOCK = re.compile(r"model\.layers\.(\d+)\.(.+)")
"""Names of weights within a block, as in Llama and the many networks that are built like it."""

OUTPUTS = ("self_attn.o_proj.", "mlp.down_proj.")
"""What a block adds to its input comes out of these two."""


def deepened(network: PreTrainedModel, layers: int) -> PreTrainedModel:
    """Copy a network with more blocks.

    Behind each block stand copies of it whose outputs are zero, so that they add nothing yet.

    Source: Wu et al. 2024, "LLaMA Pro: Progressive LLaMA with Block Expansion", section 3.1.

    Args:
        network: A causal model of ``transformers`` built like Llama.
        layers: Blocks that it is to have, a multiple of those it has.

    Returns:
        Another network of the same class, device and number format; the same one if it has as many blocks already.

    Raises:
        TokbenchError: If it is not built like Llama, or has more blocks, or the number is no multiple.
    """
    config = network.config
    before = config.num_hidden_layers
    if layers == before:
        return network
    state = network.state_dict()
    parts = {match[2] for key in state if (match := BLOCK.fullmatch(key)) is not None}
    if not all(any(part.startswith(output) for part in parts) for output in OUTPUTS):
        raise TokbenchError(f"{type(network).__name__} is not built like Llama, and cannot be made deeper; leave deepen out")
    if layers % before:
        raise TokbenchError(f"deepen is a multiple of the {before} blocks that the model has, got {layers}")
    times = layers // before
    larger = deepcopy(config)
    larger.num_hidden_layers = layers
    if kinds := getattr(config, "layer_types", None):
        larger.layer_types = [kind for kind in kinds for _ in range(times)]
    made = {}
    for key, weight in state.items():
        match = BLOCK.fullmatch(key)
        if match is None:
            made[key] = weight
            continue
        for copy in range(times):
            silent = copy > 0 and match[2].startswith(OUTPUTS)
            made[f"model.layers.{int(match[1]) * times + copy}.{match[2]}"] = torch.zeros_like(weight) if silent else weight
    deeper: Any = type(network)(larger)
    deeper = deeper.to(device=network.device, dtype=network.dtype)
    deeper.load_state_dict(made)
    found: PreTrainedModel = deeper.train(network.training)
    return found
