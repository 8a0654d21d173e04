"""The probe's network, a Llama model of ``transformers``, and the bits it takes for every code of a sequence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from tokbench.errors import missing_extra
from tokbench.feed.probe.sequences import SequenceBatch
from tokbench.feed.vocabulary import Vocabulary
from tokbench.records.probe_protocol import ProbeProtocol
from tokbench.records.probe_record import Parameters

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


def make_network(vocabulary: Vocabulary, protocol: ProbeProtocol, *, length: int) -> LlamaForCausalLM:
    """Build the network with random weights that follow from the seed.

    Args:
        vocabulary: Gives its ids; the embedding is also the head.
        protocol: Sizes and seed.
        length: Ids of the longest sequence.

    Raises:
        TokbenchError: If ``transformers`` is not installed.
    """
    try:
        from transformers import LlamaConfig, LlamaForCausalLM
    except ImportError as error:
        raise missing_extra("transformers", "probe", "the probe") from error
    config = LlamaConfig(
        vocab_size=vocabulary.size,
        hidden_size=protocol.hidden_size,
        intermediate_size=protocol.intermediate_size,
        num_hidden_layers=protocol.layers,
        num_attention_heads=protocol.heads,
        num_key_value_heads=protocol.heads,
        max_position_embeddings=length,
        tie_word_embeddings=True,
        bos_token_id=vocabulary.special.bos,
        eos_token_id=vocabulary.special.eos,
        pad_token_id=vocabulary.special.pad,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(protocol.seed)
        return LlamaForCausalLM(config)


def count_parameters(model: LlamaForCausalLM) -> Parameters:
    """Count weights, those shared by embedding and head once."""
    embedding = model.get_input_embeddings().get_parameter("weight").numel()
    return Parameters(sum(weight.numel() for weight in model.parameters()) - embedding, embedding)


def code_bits(model: LlamaForCausalLM, batch: SequenceBatch, vocabulary: Vocabulary, *, bf16: bool = False) -> Float32[Tensor, "b n"]:
    """Bits of every code given all before it.

    Only codes of the codebook whose turn it is get a share of the probability. The form of the sequence says which one it is, so nothing
    is spent on what cannot come. K uniform codebooks cost exactly the sum of log2 of their sizes.

    Args:
        model: On the device of the batch.
        batch: Sequences.
        vocabulary: Meaning of the ids.
        bf16: Run the network in bfloat16 where that is safe; the logarithms are taken in single precision in any case.

    Returns:
        Position major, codebook last, as the codes stand in the sequence.
    """
    with torch.autocast(batch.ids.device.type, torch.bfloat16, enabled=bf16):
        hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
        before = hidden.gather(1, (batch.where - 1)[:, :, None].expand(-1, -1, hidden.shape[2]))
        ids = batch.ids.gather(1, batch.where)
        books = vocabulary.codebooks
        parts = []
        for book in range(books):
            logits = code_logits(model, before[:, book::books], vocabulary, book).float()
            targets = ids[:, book::books] - vocabulary.offsets[book]
            nats = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
            parts.append(nats.unflatten(0, targets.shape) / math.log(2))
    return torch.stack(parts, dim=2).flatten(1)


def code_logits(model: LlamaForCausalLM, hidden: Float[Tensor, "*b d"], vocabulary: Vocabulary, book: int) -> Float[Tensor, "*b s"]:
    """Scores of the codes of one codebook.

    Args:
        model: Gives the head.
        hidden: Its last hidden states, where a code of that codebook comes next.
        vocabulary: Meaning of the ids.
        book: Which codebook.
    """
    start = vocabulary.offsets[book]
    return hidden @ model.lm_head.weight[start : start + vocabulary.codebook_sizes[book]].T
