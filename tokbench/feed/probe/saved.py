"""A probe as a folder that ``transformers`` reads: configuration, weights, generation settings, and what its ids mean."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from tokbench.configs import build, plain
from tokbench.errors import TokbenchError, brief, missing_extra
from tokbench.feed.vocabulary import Vocabulary
from tokbench.feed.vocabulary_json import vocabulary_from_json, vocabulary_to_json
from tokbench.file_units import replace_files, scratch_folder
from tokbench.files import cannot_write, write_text
from tokbench.json_files import read_json, read_regular
from tokbench.shapes import shapes_only
from tokbench.weights.checkpoints import check_fit, load_strictly, read_state

if TYPE_CHECKING:
    from transformers import LlamaConfig, LlamaForCausalLM

VOCABULARY = "vocabulary.json"
FORM = "probe.json"

LARGEST = {"num_hidden_layers": 1024, "num_attention_heads": 1024, "hidden_size": 2**16, "intermediate_size": 2**18, "vocab_size": 2**24}
"""Sizes a saved network may have, by their names in its configuration."""
SETTINGS = (
    *(*LARGEST, "num_key_value_heads", "head_dim", "hidden_act", "rms_norm_eps", "attention_bias", "mlp_bias", "tie_word_embeddings"),
    *("max_position_embeddings", "rope_parameters", "rope_scaling", "rope_theta", "initializer_range", "attention_dropout", "use_cache"),
    *("bos_token_id", "eos_token_id", "pad_token_id"),
)
"""What is read of a configuration. With others ``transformers`` may fetch code and run it, as with ``attn_implementation``."""
WEIGHTS = "model.safetensors"
TIED, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


@dataclass(frozen=True)
class ProbeForm:
    """What the sequences that a probe was trained on look like.

    Args:
        grid: Grid of their images, in positions.
        image_size: Height and width in pixels.
        condition: What text stands before them.

    Raises:
        ValueError: If a value is not allowed.
    """

    grid: tuple[int, ...]
    image_size: tuple[int, int]
    condition: Literal["caption", "label", "none"] = "none"

    def __post_init__(self) -> None:
        numbers = (*self.grid, *self.image_size)
        if not all(type(number) is int and number > 0 for number in numbers) or len(self.grid) not in (1, 2) or len(self.image_size) != 2:
            raise ValueError(f"grid and image_size are 1 or 2 and 2 positive numbers, got {self.grid} and {self.image_size}")
        if self.condition not in ("caption", "label", "none"):
            raise ValueError(f"condition is caption, label or none, got {self.condition!r}")


def save_probe(model: LlamaForCausalLM, vocabulary: Vocabulary, folder: str | Path, *, form: ProbeForm | None = None) -> None:
    """Write a probe.

    Args:
        model: The network.
        vocabulary: Vocabulary of its ids.
        folder: Made if missing.
        form: Form of its sequences; with None, who samples from it must know the grid.

    Raises:
        TokbenchError: If it cannot be written.
    """
    folder = Path(folder)
    with scratch_folder(folder, VOCABULARY) as draft:
        try:
            with _without_progress_bars():
                model.save_pretrained(draft)
            write_text(draft / VOCABULARY, vocabulary_to_json(vocabulary))
            if form is not None:
                write_text(draft / FORM, json.dumps(plain(form), indent=1, sort_keys=True) + "\n")
        except OSError as error:
            raise cannot_write(folder, error) from error
        replace_files(draft, folder, last=VOCABULARY)


def load_probe(folder: str | Path, *, device: str = "cpu") -> tuple[LlamaForCausalLM, Vocabulary]:
    """Read a probe, to sample from it or to train it further.

    Args:
        folder: What ``save_probe`` wrote.
        device: Where to put it.

    Returns:
        The network, ready to evaluate, and its vocabulary; ``read_probe_form`` says on what grid its images are.

    Raises:
        TokbenchError: If the folder holds no probe or one whose files do not fit together, or ``transformers`` is not installed.
    """
    folder = Path(folder)
    try:
        from transformers import LlamaForCausalLM
    except ImportError as error:
        raise missing_extra("transformers", "probe", "the probe") from error
    path, settings = folder / VOCABULARY, folder / "config.json"
    try:
        vocabulary = vocabulary_from_json(read_regular(path).decode("utf-8"), origin=str(path))
        # Read by hand: without this file, or with an empty one, transformers would build its default network of 7 billion weights.
        config = _config(read_json(settings))
        if config.vocab_size != vocabulary.size:
            raise TokbenchError(f"{folder} has {config.vocab_size} embeddings for {vocabulary.size} ids; make the probe again")
        if (folder / FORM).is_file() and len(grid := read_probe_form(folder).grid) != vocabulary.grid_axes:
            raise TokbenchError(f"{folder} has the grid {grid} for a vocabulary of {vocabulary.grid_axes} axes; make the probe again")
        with shapes_only():
            model = LlamaForCausalLM(config)
        state = _tensors(folder, model)
    except (OSError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError, AssertionError) as error:
        why = " ".join(str(error).split())[:300] or type(error).__name__
        raise TokbenchError(f"{folder} holds no probe ({why}); make one with: tokbench probe --tokenizer NAME") from error
    model = LlamaForCausalLM(config)
    load_strictly(model, state, origin=str(folder / WEIGHTS))
    return model.eval().to(device), vocabulary


def _tensors(folder: Path, model: LlamaForCausalLM) -> dict[str, Tensor]:
    """The tensors of a saved model, read by this package, with those that ``transformers`` ties to others and leaves out.

    Raises:
        DoesNotFit: If they are not those of the model, before memory is taken for it.
    """
    if not (folder / WEIGHTS).is_file():
        raise FileNotFoundError(f"it has no {WEIGHTS}")
    state = read_state(folder / WEIGHTS)[0]
    own = model.state_dict()
    if model.config.tie_word_embeddings and TIED not in state and EMBEDDING in state:
        state[TIED] = state[EMBEDDING]
    check_fit(own, state, origin=str(folder / WEIGHTS), what=type(model).__name__)
    return state


def read_probe_form(folder: str | Path) -> ProbeForm:
    """Read what the sequences of a saved probe look like.

    Args:
        folder: What ``save_probe`` wrote, with ``form``.

    Raises:
        TokbenchError: If that is not there, as in folders of older versions, or damaged.
    """
    path = Path(folder) / FORM
    try:
        form = build(ProbeForm, read_json(path))
    except FileNotFoundError as error:
        raise TokbenchError(f"{folder} has no {FORM}; grid and condition are in the record beside it") from error
    except (OSError, ValueError) as error:
        raise TokbenchError(f"{path} is damaged ({error}); make the probe again") from error
    assert isinstance(form, ProbeForm)
    return form


def _config(values: Any) -> LlamaConfig:
    """The configuration of a network that can be laid out at all: ``transformers`` makes as many layers as it is told.

    Raises:
        ValueError: If sizes are missing, no whole numbers, or out of range, or ``transformers`` refuses a setting.
    """
    from transformers import LlamaConfig

    checked = build(dict[str, Any], values, "config.json")
    for name, most in LARGEST.items():
        size = build(int, checked.get(name), name)
        if not 1 <= size <= most:
            raise ValueError(f"{name} is {size}, it must be 1 to {most}")
    try:
        return LlamaConfig.from_dict({name: value for name, value in checked.items() if name in SETTINGS})
    except Exception as error:  # it is checked by several libraries, each with errors of its own
        raise ValueError(brief(error)) from error


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Keep ``transformers`` from drawing bars for files this small."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
