"""The model that a stage begins from, and the tokenizer that belongs to it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from tokbench.bench.fitting import fit
from tokbench.errors import TokbenchError
from tokbench.feed.dataset import TokenDataset
from tokbench.feed.encoding import encode_batch
from tokbench.feed.job import TokenizerIdentity
from tokbench.feed.origin import check_same_tokenizer, tokenizer_called
from tokbench.feed.text import ByteText, TextTokenizer
from tokbench.feed.text_file import FileText
from tokbench.feed.vocabulary import Vocabulary
from tokbench.images import UnreadableImage, load_rgb
from tokbench.lm.build import code_vectors, extend, open_base, tiny_network
from tokbench.lm.deepen import deepened
from tokbench.lm.mixture import check_data
from tokbench.lm.model import ABOUT, LanguageModel
from tokbench.lm.recipes import StageRecipe
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import DiscreteTokens
from tokbench.weights.places import locate

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def open_learned(model: str | None) -> LanguageModel | None:
    """Open a model that has learned images; None if there is no model, or one of text alone.

    Raises:
        TokbenchError: If it cannot be fetched or read.
    """
    return LanguageModel.load(locate(model)) if model is not None and (Path(locate(model)) / ABOUT).is_file() else None


def open_text_model(recipe: StageRecipe, model: str) -> tuple[PreTrainedModel, TextTokenizer]:
    """Open a model of text alone, which is to learn images.

    Args:
        recipe: The stage.
        model: Where it lies.

    Raises:
        TokbenchError: If the stage does not begin from such a model, or it cannot be fetched or read.
    """
    if recipe.stage != "pretrain":
        raise TokbenchError(f"{model} holds no model that has learned images; give --model FOLDER of one that pretrain made")
    return open_base(model)


def begin(
    recipe: StageRecipe,
    data: TokenDataset,
    *,
    learned: LanguageModel | None,
    base: tuple[PreTrainedModel, TextTokenizer] | None,
    model: str | None,
    text: Path | None,
    tokenizer: Tokenizer | None,
    device: str,
) -> LanguageModel:
    """Give or make the model that a stage begins from.

    Args:
        recipe: Gives sizes and seed of one from scratch.
        data: What it will read.
        learned: A model that has learned images, see ``open_learned``.
        base: A model of text, see ``open_text_model``; without either one from scratch is made.
        model: Where the model lies, as an error says it.
        text: Text tokenizer of one from scratch; None writes words byte by byte.
        tokenizer: That of the data, whose code vectors a model of text begins with; None looks for it in the zoo.
        device: Where the tokenizer runs.

    Raises:
        TokbenchError: If it cannot be read, or is of another tokenizer or size of images than the data.
    """
    layout = data.job.layout
    if learned is not None:
        check_data(data, learned.vocabulary)
        if data.grid != learned.grid or layout.image_size != learned.image_size:
            given = f"{data.folder} holds images of {_size(layout.image_size)} px, {model} reads those of {_size(learned.image_size)} px"
            raise TokbenchError(f"{given}; export at its size, or start another model")
        return learned if recipe.deepen is None else replace(learned, network=deepened(learned.network, recipe.deepen))
    if not layout.discrete:
        name = data.job.tokenizer.name
        raise TokbenchError(f"{data.folder} holds latents of {name}, and a language model reads codes; export with another tokenizer")
    if base is None:
        words = ByteText() if text is None else FileText.open(text)
        vocabulary = Vocabulary.over(words, layout, data.job.tokenizer)
        network = tiny_network(vocabulary, recipe.network, seed=recipe.seed)
        return LanguageModel(network, vocabulary, layout.image_size, layout.grid)
    network, own = base
    vocabulary = Vocabulary.over(own, layout, data.job.tokenizer)
    found = tokenizer_of(data.job.tokenizer, tokenizer, device)
    extend(network, vocabulary, vectors=code_vectors(found, layout), seed=recipe.seed)
    return LanguageModel(network, vocabulary, layout.image_size, layout.grid)


def tokenizer_of(identity: TokenizerIdentity, given: Tokenizer | None, device: str) -> Tokenizer:
    """Give the image tokenizer that codes are of.

    Args:
        identity: That of the codes.
        given: The one a user gives, which must be the same, whatever it is called; None takes the one of that name from the zoo.
        device: Where one of the zoo is put.

    Raises:
        TokbenchError: If it is another one, or none is given and the zoo has none.
    """
    try:
        if given is None:
            return tokenizer_called(identity, device=device)
        check_same_tokenizer(given, identity)
    except TokbenchError as error:
        raise TokbenchError(f"{error}; give theirs with -t") from error
    return given


def encoder(model: LanguageModel, tokenizer: Tokenizer | None, device: str) -> Callable[[Path], DiscreteTokens]:
    """Make what reads an image file as the model's images were read, and encodes it; the tokenizer is loaded at the first file."""
    protocol = get_protocol(changes={"size": model.size})
    loaded: list[Tokenizer] = []

    def encode(path: Path) -> DiscreteTokens:
        if not loaded:
            loaded.append(tokenizer_of(model.identity, tokenizer, device))
        try:
            pixels = fit(load_rgb(path), protocol)
        except UnreadableImage as error:
            raise TokbenchError(f"{path} is not a readable image ({error})") from error
        batch = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].contiguous()
        tokens = encode_batch(loaded[0], batch, [path.name], protocol)
        assert isinstance(tokens, DiscreteTokens)
        return tokens

    return encode


def digest_of(model: str | None) -> str:
    """SHA-256 over the weights that a stage begins from, whatever kind of file they lie in; ``scratch`` if there are none."""
    if model is None:
        return "scratch"
    total, folder = hashlib.sha256(), Path(locate(model))
    for path in sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin")):
        total.update(bytes.fromhex(sha256_of(path)))
    return total.hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(pixels: tuple[int, int]) -> str:
    return f"{pixels[0]}x{pixels[1]}"
