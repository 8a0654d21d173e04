"""A model of random weights, small enough for every test."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import tokbench
from tokbench.feed import ByteText, Vocabulary, identify
from tokbench.lm.model import LanguageModel
from tokbench.tokenizers.base import Tokenizer

transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}


@pytest.fixture(scope="session")
def patch_tokenizer() -> Tokenizer:
    return tokbench.load("patch")


def vocabulary_of(tokenizer: Tokenizer, side: int) -> Vocabulary:
    return Vocabulary.over(ByteText(), tokenizer.layout(side, side), identify(tokenizer))


def random_llama(vocabulary: Vocabulary, **changes: Any) -> Any:
    special = vocabulary.special
    ids = {"bos_token_id": special.bos, "eos_token_id": special.eos, "pad_token_id": special.pad}
    config = transformers.LlamaConfig(vocab_size=vocabulary.size, max_position_embeddings=512, **(SIZES | ids | changes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.LlamaForCausalLM(config).eval()


@pytest.fixture(scope="session")
def tiny(patch_tokenizer: Tokenizer) -> LanguageModel:
    """A model of 16 px images, 4 by 4 codes of ``patch``; its weights are random."""
    vocabulary = vocabulary_of(patch_tokenizer, 16)
    network = random_llama(vocabulary, initializer_range=0.3)
    return LanguageModel(network, vocabulary, (16, 16), patch_tokenizer.layout(16, 16).grid, {"stages": [{"name": "pretrain", "steps": 0}]})
