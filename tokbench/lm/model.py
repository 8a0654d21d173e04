"""A language model over text and image tokens: a network of ``transformers`` and what its ids mean, as one folder.

config.json, model.safetensors    what ``save_pretrained`` writes, and ``transformers`` reads
vocabulary.json                   what the ids mean, and which image tokenizer the codes are of
tokenizer.json                    the text tokenizer, where the vocabulary has that of a file
language_model.json               size and grid of its images, and what it was trained on
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tokbench.configs import build, plain
from tokbench.errors import TokbenchError
from tokbench.feed.job import TokenizerIdentity
from tokbench.feed.text_file import MOST_BYTES, FileText
from tokbench.feed.vocabulary import Vocabulary
from tokbench.feed.vocabulary_json import vocabulary_from_json, vocabulary_to_json
from tokbench.file_units import replace_files, scratch_folder
from tokbench.files import cannot_write, write_bytes, write_text
from tokbench.image_size import Size, as_size
from tokbench.json_files import read_json, read_regular
from tokbench.lm.network import quiet, read_network
from tokbench.tokenizers.zoo import usable_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VOCABULARY, TEXT, ABOUT = "vocabulary.json", "tokenizer.json", "language_model.json"

SCHEMA = 1

LARGEST_SIDE = 2**16
"""Pixels and positions that a side of an image may have."""


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A causal model that reads and writes text and images.

    Args:
        network: Model of ``transformers``; it may have more ids than the vocabulary.
        vocabulary: What its ids mean; flat.
        image_size: Height and width of the images it was trained on, in pixels.
        grid: Their grid, in positions.
        recipe: What it was trained on, stage by stage, as plain values.

    Raises:
        ValueError: If they do not fit together.
    """

    network: PreTrainedModel
    vocabulary: Vocabulary
    image_size: tuple[int, int]
    grid: tuple[int, ...]
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.vocabulary.parallel:
            raise ValueError("a language model takes a flat vocabulary, and this one is parallel")
        _About(self.image_size, self.grid, dict(self.recipe))
        if len(self.grid) != self.vocabulary.grid_axes:
            raise ValueError(f"the grid {self.grid} has not the {self.vocabulary.grid_axes} axes of the vocabulary")
        embeddings = self.network.get_input_embeddings().get_parameter("weight").shape[0]
        if embeddings < self.vocabulary.size:
            raise ValueError(f"the weights have {embeddings} ids, the vocabulary has {self.vocabulary.size}")

    @property
    def size(self) -> Size:
        """Size of its images: a side, or height and width."""
        return as_size(*self.image_size)

    @property
    def identity(self) -> TokenizerIdentity:
        """The image tokenizer its codes are of."""
        return self.vocabulary.image_tokenizer

    @property
    def longest(self) -> int | None:
        """Ids of the longest sequence that the network takes; None if it does not say."""
        found = getattr(self.network.config.get_text_config(), "max_position_embeddings", None)
        return found if isinstance(found, int) else None

    @property
    def guidance(self) -> float:
        """How far images drawn from words are led away from wordless ones where nobody says: as the last stage that says it, or 1."""
        stages = self.recipe.get("stages")
        for stage in reversed(stages if isinstance(stages, list) else []):
            recipe = stage.get("recipe") if isinstance(stage, Mapping) else None
            value = recipe.get("guidance") if isinstance(recipe, Mapping) else None
            if isinstance(value, int | float) and math.isfinite(value):
                return float(value)
        return 1.0

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.network.device

    def save(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write the model as a folder; a model that is there is replaced.

        Args:
            folder: Made if missing.
            dtype: Number format of the weights in the file; None keeps that of the network. Half the size is ``torch.float16``.

        Raises:
            TokbenchError: If it cannot be written.
        """
        folder, text = Path(folder), self.vocabulary.text
        network: Any = self.network
        if dtype is not None:
            network = copy.deepcopy(network).to(dtype=dtype)
        about = {"schema": SCHEMA, **plain(_About(self.image_size, self.grid, dict(self.recipe)))}
        with scratch_folder(folder, ABOUT) as draft:
            try:
                with quiet():
                    network.save_pretrained(draft)
                write_text(draft / VOCABULARY, vocabulary_to_json(self.vocabulary))
                if isinstance(text, FileText) and text.path is not None:
                    write_bytes(draft / TEXT, read_regular(text.path, most=MOST_BYTES))
                write_text(draft / ABOUT, json.dumps(about, indent=1, sort_keys=True, allow_nan=False) + "\n")
                for path in draft.glob("*.safetensors"):  # which the library lets nobody else read
                    path.chmod((draft / ABOUT).stat().st_mode)
            except OSError as error:
                raise cannot_write(folder, error) from error
            replace_files(draft, folder, last=ABOUT)

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu", dtype: torch.dtype | None = None) -> LanguageModel:
        """Read a model.

        Args:
            folder: What ``save`` wrote.
            device: Where to put it.
            dtype: Number format of its weights; None means float32.

        Returns:
            The model, ready to evaluate.

        Raises:
            TokbenchError: If the folder holds none, or files that do not fit together; ``transformers`` is not installed; or there is no
                such device.
        """
        folder, place = Path(folder), usable_device(device)
        about, vocabulary = _read_about(folder), _read_vocabulary(folder)
        network = read_network(folder, dtype=dtype)
        torch.nn.Module.to(network, device=place)  # the library's own says only what a quantized model cannot do
        try:
            model = cls(network, vocabulary, about.image_size, about.grid, about.recipe)
        except ValueError as error:
            raise TokbenchError(f"{folder} holds files that do not fit together: {error}; save the model again") from error
        return model


@dataclass(frozen=True)
class _About:
    """What ``language_model.json`` holds beside its schema."""

    image_size: tuple[int, int]
    grid: tuple[int, ...]
    recipe: dict[str, Any]

    def __post_init__(self) -> None:
        numbers = (*self.image_size, *self.grid)
        if len(self.image_size) != 2 or not self.grid or not all(type(n) is int and 1 <= n <= LARGEST_SIDE for n in numbers):
            raise ValueError(f"image_size and grid are 2 and 1 or 2 numbers of 1 to {LARGEST_SIDE}, got {self.image_size} and {self.grid}")


def _read_about(folder: Path) -> _About:
    path = folder / ABOUT
    try:
        values = read_json(path)
        schema = values.get("schema") if isinstance(values, dict) else None
        if type(schema) is int and schema > SCHEMA:
            raise TokbenchError(f"{path} has schema {schema}, this tokbench reads up to {SCHEMA}; install a newer one")
        if schema != SCHEMA:
            raise ValueError(f"its schema is {str(schema)[:20]}, not {SCHEMA}")
        about = build(_About, values)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TokbenchError(f"{folder} holds no language model, it has no {ABOUT}; make one with: tokbench lm train") from error
    except (OSError, ValueError) as error:
        raise TokbenchError(f"{path} is damaged ({error}); save the model again") from error
    assert isinstance(about, _About)
    return about


def _read_vocabulary(folder: Path) -> Vocabulary:
    path, text = folder / VOCABULARY, folder / TEXT
    try:
        written = read_regular(path).decode("utf-8")
    except (OSError, ValueError) as error:
        raise TokbenchError(f"{path} cannot be read ({error}); save the model again") from error
    vocabulary = vocabulary_from_json(written, text_file=text if text.is_file() else None, origin=str(path))
    if isinstance(vocabulary.text, FileText) and vocabulary.text.path is None:
        raise TokbenchError(f"{folder} has no {TEXT}, by which its vocabulary writes words; save the model again")
    return vocabulary
