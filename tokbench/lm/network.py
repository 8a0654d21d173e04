"""Causal models of ``transformers`` from the folders its ``save_pretrained`` writes, read without running anything in them.

This package reads the configuration and the tensors. The library builds the network from them, since it knows its own architectures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tokbench.configs import build
from tokbench.errors import TokbenchError, brief, missing_extra, out_of_memory, unknown_name
from tokbench.linear import multiplying
from tokbench.shapes import shapes_only
from tokbench.weights.weight_files import CONFIG, open_weights, read_json

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

HEADS = "num_attention_heads"

LARGEST = {"num_hidden_layers": 1024, HEADS: 1024, "hidden_size": 2**16, "vocab_size": 2**24}
"""Sizes a network may have, by the names that every configuration answers to."""

MORE_SETTINGS = ("head_dim", "rope_theta", "rope_scaling", "partial_rotary_factor")
"""Settings that are read although the default configuration of an architecture does not list them."""

ADAPTERS = "adapter_config.json"
"""What ``save_pretrained`` of ``peft`` writes in place of a configuration."""

WEIGHTS = ("*.safetensors", "*.safetensors.index*.json", "*.bin", "*.bin.index*.json")
"""Files that ``save_pretrained`` writes weights to."""

REFUSED = re.compile(r"_.*|.*(implementation|auto_map|quantization|kernel|backbone|pretrained|name_or_path).*")
"""Names of settings that may make ``transformers`` fetch something, or run it."""


def read_network(folder: Path, *, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """Read a causal language model.

    Args:
        folder: What ``save_pretrained`` wrote: ``config.json`` and weights, in one file or in shards with their index.
        dtype: Number format of its weights; None means float32.

    Returns:
        The network on the CPU, ready to evaluate.

    Raises:
        TokbenchError: If there is none, it is no causal model of ``transformers``, or its files do not fit together.
    """
    try:
        import transformers
    except ImportError as error:
        raise missing_extra("transformers", "lm", "a language model") from error
    if not (folder / CONFIG).is_file() and (folder / ADAPTERS).is_file():
        raise TokbenchError(
            f"{folder} holds adapters of peft without their model; merge them into it, with merge_and_unload and save_pretrained, and give that"
        )
    if not (folder / CONFIG).is_file():
        raise TokbenchError(f"{folder} holds no language model, it has no {CONFIG}; give a folder that save_pretrained wrote")
    if not any(path for form in WEIGHTS for path in folder.glob(form)):  # a checkpoint of a training is none: it has more than weights
        raise TokbenchError(f"{folder} has no weights, neither model.safetensors nor pytorch_model.bin; save the model again")
    values = read_json(folder / CONFIG)
    name = _architecture(values, folder)
    architecture = getattr(transformers, name)
    opened = open_weights(folder)
    if not isinstance(opened.content, Mapping) or not all(isinstance(tensor, Tensor) for tensor in opened.content.values()):
        raise TokbenchError(f"the weights of {folder} are no plain mapping of names to tensors; save the model again")
    state = opened.values(opened.content)
    with quiet():
        try:
            config = _config(values)
            _check_size(architecture, config, state)
            network, found = architecture.from_pretrained(
                None, config=config, state_dict=state, dtype=dtype or torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
            )
        except Exception as error:  # libraries check configurations with errors of their own
            if out_of_memory(error):
                raise
            raise TokbenchError(f"{folder} holds no usable {name} ({brief(error)}); save the model again") from error
    _check_loaded(found, folder, name)
    if broken := sorted(key for key, value in network.state_dict().items() if not torch.isfinite(value).all()):
        raise TokbenchError(f"{folder} holds NaN or infinity in {_first(broken)}; the file is damaged or training diverged")
    if getattr(network, "loss_type", None) is None:  # the library knows it by the name of the class, and warns where it does not
        network.loss_type = "ForCausalLM"
    multiplying(network)
    return network.eval()


def _architecture(values: Mapping[str, Any], folder: Path) -> str:
    """The library's class for a configuration."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as known

    kind = values.get("model_type")
    name = known.get(kind) if isinstance(kind, str) else None
    if not isinstance(name, str):
        raise unknown_name("model_type", str(kind), known, hint=f"{folder} must hold a causal model of transformers.")
    return name


def _config(values: Mapping[str, Any]) -> PretrainedConfig:
    """The configuration of a network that can be laid out at all: ``transformers`` makes as many layers as it is told.

    Raises:
        ValueError: If sizes are missing, no whole numbers, or out of range.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = CONFIG_MAPPING[values["model_type"]]
    default = kind()
    known = {*default.to_dict(), *default.attribute_map, *MORE_SETTINGS}
    config = kind.from_dict(_harmless({key: value for key, value in values.items() if key in known}))
    main = config.get_text_config()
    for name, most in LARGEST.items():
        if name == HEADS and getattr(main, name, None) is None:  # of a network without attention
            continue
        size = build(int, getattr(main, name, None), name)
        if not 1 <= size <= most:
            raise ValueError(f"{name} is {size}, it must be 1 to {most}")
    return config


def _harmless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _harmless(item) for key, item in value.items() if not REFUSED.fullmatch(key)}
    return value


def _check_size(architecture: Any, config: PretrainedConfig, state: Mapping[str, Tensor]) -> None:
    """Refuse a network that is larger than its weights, before memory is taken for it.

    Raises:
        ValueError: If it is.
    """
    with shapes_only():
        network = architecture(config)
    asked, given = sum(weight.numel() for weight in network.parameters()), sum(tensor.numel() for tensor in state.values())
    if asked > given:
        raise ValueError(f"its configuration asks for {asked:,} weights, its files have {given:,}")


def _check_loaded(found: Mapping[str, Any], folder: Path, name: str) -> None:
    problems = [
        f"{len(keys)} {word}: {_first(keys)}"
        for word, keys in (
            ("missing", sorted(found["missing_keys"])),
            ("unknown", sorted(found["unexpected_keys"])),
            ("of another shape", sorted(key for key, *_ in found["mismatched_keys"])),
        )
        if keys
    ]
    if problems:
        raise TokbenchError(f"the weights of {folder} do not fit its {name}: {'; '.join(problems)}; save the model again")


def _first(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep ``transformers`` from drawing bars and tables: what it finds is said in an error."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
