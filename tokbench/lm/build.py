"""Networks to begin with: a small one from scratch, or any causal model of ``transformers`` that learns to read images.

::

    embedding of a language model     text 0 .. n-1 | special ids | codes
                                      as it was       mean of text   code vectors of the tokenizer, turned and scaled to look like text
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from tokbench.errors import TokbenchError, brief, missing_extra
from tokbench.feed.text import TextTokenizer
from tokbench.feed.text_file import FileText
from tokbench.feed.vocabulary import Vocabulary
from tokbench.layout import TokenLayout
from tokbench.linear import multiplying
from tokbench.lm.network import read_network
from tokbench.lm.recipes import NetworkSizes
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import DiscreteTokens
from tokbench.weights.places import locate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TEXT_FILE = "tokenizer.json"


@dataclass(frozen=True)
class LoraOptions:
    """Low-rank adapters on every linear layer but the head.

    Args:
        rank: Rank of their matrices.
        alpha: They act with ``alpha / rank``.
        dropout: Share of their inputs that is dropped in training.

    Raises:
        ValueError: If the rank is not positive or the dropout no share below 1.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.rank < 1 or not 0 <= self.dropout < 1:
            raise ValueError(f"rank must be positive and dropout a share below 1, got {self.rank} and {self.dropout}")


def tiny_network(vocabulary: Vocabulary, sizes: NetworkSizes, *, seed: int) -> PreTrainedModel:
    """Build a small Llama with random weights, whose embedding is also its head.

    Args:
        vocabulary: Gives its ids.
        sizes: Its sizes.
        seed: The weights follow from it.

    Raises:
        TokbenchError: If ``transformers`` is not installed.
    """
    try:
        from transformers import LlamaConfig, LlamaForCausalLM
    except ImportError as error:
        raise missing_extra("transformers", "lm", "a language model") from error
    settings = LlamaConfig(
        vocab_size=vocabulary.size,
        hidden_size=sizes.hidden_size,
        intermediate_size=sizes.intermediate_size,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.heads,
        max_position_embeddings=sizes.positions,
        tie_word_embeddings=True,
        **_special_ids(vocabulary),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = LlamaForCausalLM(settings)
    multiplying(network)
    return network


def open_base(place: str) -> tuple[PreTrainedModel, TextTokenizer]:
    """Read a causal model and its text tokenizer, to be extended.

    Args:
        place: A folder of ``save_pretrained``, or ``hf:OWNER/REPO``.

    Returns:
        The network as it is, and the tokenizer of its ``tokenizer.json``.

    Raises:
        TokbenchError: If it cannot be fetched or read, or its text tokenizer has more ids than its embedding.
    """
    folder = Path(locate(place))
    network = read_network(folder)
    if not (folder / TEXT_FILE).is_file():
        raise TokbenchError(f"{folder} has no {TEXT_FILE}; save the model's text tokenizer there too, with its save_pretrained")
    text = FileText.open(folder / TEXT_FILE)
    if text.size > (rows := _rows(network)):
        raise TokbenchError(f"the text tokenizer of {folder} has {text.size} ids, its network {rows}; give the tokenizer of that network")
    return network, text


def extend(
    network: PreTrainedModel, vocabulary: Vocabulary, *, vectors: Sequence[Float[Tensor, "s d"]] | None = None, seed: int = 0
) -> PreTrainedModel:
    """Give a network that knows text rows for the special ids and the codes, in place.

    Special ids begin as the mean of all rows of text. Codes begin as the tokenizer's own vectors, so that those that look alike are alike
    from the start. A random projection gives them the width, mean and spread of the rows of text. Without vectors they begin as the mean.
    A head that is not the embedding begins as the mean of its rows of text.

    Args:
        network: Its first ``vocabulary.text.size`` ids are text.
        vocabulary: Numbers text, special ids and codes.
        vectors: Those of all codes, see ``code_vectors``; None if there are none.
        seed: Seed of the projection.

    Returns:
        The same network.

    Raises:
        ValueError: If it has fewer ids than there are of text.
    """
    text = vocabulary.text.size
    if text > (rows := _rows(network)):
        raise ValueError(f"the network has {rows} ids, fewer than the {text} of text")
    if vocabulary.size > rows:
        network.resize_token_embeddings(vocabulary.size, mean_resizing=False)
    embedding = network.get_input_embeddings().get_parameter("weight")
    head = network.get_output_embeddings()
    with torch.no_grad():
        known = embedding[:text].float()
        embedding[text : vocabulary.size] = known.mean(dim=0).to(embedding)
        for book, found in enumerate(vectors or ()):
            start = vocabulary.offsets[book]
            embedding[start : start + len(found)] = _like(found, known, seed=seed + book).to(embedding)
        if head is not None and head.weight is not embedding:
            head.weight[text : vocabulary.size] = head.weight[:text].float().mean(dim=0).to(head.weight)
            if getattr(head, "bias", None) is not None:
                head.bias[text : vocabulary.size] = head.bias[:text].mean()
    for name, number in _special_ids(vocabulary).items():
        setattr(network.config.get_text_config(), name, number)
        setattr(network.generation_config, name, number)
    return network


def code_vectors(tokenizer: Tokenizer, layout: TokenLayout) -> list[Float[Tensor, "s d"]] | None:
    """Look up the vector of every code of every codebook, with code 0 in all others.

    Args:
        tokenizer: Any with codes.
        layout: Shape of the tokens of an image it can take.

    Returns:
        One tensor a codebook; None if the tokenizer has no vectors.
    """
    sizes, positions, found = layout.codebook_sizes, layout.positions, []
    for book, size in enumerate(sizes):
        images = -(-size // positions)
        codes = torch.zeros(images * positions, len(sizes), dtype=torch.int64, device=tokenizer.device)
        codes[:size, book] = torch.arange(size, device=tokenizer.device)
        try:
            vectors = tokenizer.embed(DiscreteTokens(codes.reshape(images, positions, len(sizes)), layout.grid, sizes))
        except TokbenchError:  # it has none
            return None
        found.append(vectors.flatten(0, 1)[:size].float().cpu())
    return found


def with_lora(network: PreTrainedModel, options: LoraOptions, *, train_embedding: bool, seed: int) -> Any:
    """Wrap a network so that only low-rank adapters are trained.

    Args:
        network: Any causal model; the adapters go into it.
        options: Their size.
        train_embedding: Whether the embedding and the head are trained as well, whose rows of codes may be new.
        seed: Seed of the adapters.

    Returns:
        A model of ``peft``; ``merge_and_unload`` makes it a plain network again.

    Raises:
        TokbenchError: If ``peft`` is not installed, or cannot adapt such a network.
    """
    try:
        from peft import LoraConfig, get_peft_model
        from transformers.pytorch_utils import Conv1D
    except ImportError as error:
        raise missing_extra("peft", "lm", "training with low-rank adapters") from error
    settings = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules="all-linear",
        fan_in_fan_out=any(isinstance(part, Conv1D) for part in network.modules()),  # how GPT-2 and its like keep their matrices
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            wrapped = get_peft_model(network, settings)
        except ValueError as error:
            raise TokbenchError(f"peft has no adapters for a {type(network).__name__} ({brief(error)}); leave --lora out") from error
    if train_embedding:
        for part in (network.get_input_embeddings(), network.get_output_embeddings()):
            if part is not None:
                part.requires_grad_(True)
    return wrapped


def _like(vectors: Float[Tensor, "s d"], rows: Float[Tensor, "n h"], *, seed: int) -> Float[Tensor, "s h"]:
    """Project vectors to the width of other rows, with the mean and spread of these."""
    generator = torch.Generator().manual_seed(seed)
    centred = vectors - vectors.mean(dim=0)
    turned = centred @ torch.randn(vectors.shape[1], rows.shape[1], generator=generator) / math.sqrt(vectors.shape[1])
    middle, spread = rows.mean(dim=0), (rows - rows.mean(dim=0)).std()
    scale = spread / turned.std().clamp_min(1e-12)
    return middle + turned.to(rows.device) * scale


def _rows(network: PreTrainedModel) -> int:
    return int(network.get_input_embeddings().get_parameter("weight").shape[0])


def _special_ids(vocabulary: Vocabulary) -> dict[str, Any]:
    special = vocabulary.special
    return {"bos_token_id": special.bos, "eos_token_id": special.eos, "pad_token_id": special.pad}
