"""A probe as a folder that ``transformers`` reads: configuration, weights, generation settings, and what its ids mean."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tokbench.errors import TokbenchError, missing_extra
from tokbench.feed.atomic import atomic_file, cannot_write, make_folder
from tokbench.feed.vocabulary import Vocabulary
from tokbench.feed.vocabulary_json import vocabulary_from_json, vocabulary_to_json

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

VOCABULARY = "vocabulary.json"


def save_probe(model: LlamaForCausalLM, vocabulary: Vocabulary, folder: Path) -> None:
    """Write a probe.

    Args:
        model: The network.
        vocabulary: Of its ids.
        folder: Made if missing.

    Raises:
        TokbenchError: If it cannot be written.
    """
    make_folder(folder)
    try:
        with _without_progress_bars():
            model.save_pretrained(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    with atomic_file(folder / VOCABULARY) as file:
        file.write(vocabulary_to_json(vocabulary).encode())


def load_probe(folder: Path, *, device: str = "cpu") -> tuple[LlamaForCausalLM, Vocabulary]:
    """Read a probe, to sample from it or to train it further.

    Args:
        folder: What ``save_probe`` wrote.
        device: Where to put it.

    Returns:
        The network, ready to evaluate, and its vocabulary.

    Raises:
        TokbenchError: If the folder holds no probe, or ``transformers`` is not installed.
    """
    try:
        from transformers import LlamaConfig, LlamaForCausalLM
    except ImportError as error:
        raise missing_extra("transformers", "probe", "the probe") from error
    path, settings = folder / VOCABULARY, folder / "config.json"
    try:
        vocabulary = vocabulary_from_json(path.read_text(encoding="utf-8"), origin=str(path))
        # Read by hand: without this file, or with an empty one, transformers would build its default network of 7 billion weights.
        config = LlamaConfig.from_dict(json.loads(settings.read_text(encoding="utf-8")))
        if config.vocab_size != vocabulary.size:
            raise TokbenchError(f"{folder} has {config.vocab_size} embeddings for {vocabulary.size} ids; make the probe again")
        with _without_progress_bars():
            model = LlamaForCausalLM.from_pretrained(folder, config=config, local_files_only=True)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise TokbenchError(f"{folder} holds no probe ({error}); make one with: tokbench probe --tokenizer NAME") from error
    return model.eval().to(device), vocabulary


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
