"""A model of random weights, small enough for every test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import tokbench
from tokbench.data.source import ImageSource
from tokbench.feed import ByteText, ExportOptions, Vocabulary, identify
from tokbench.feed.export import export
from tokbench.lm.image_model import ImageModel
from tokbench.lm.model import LanguageModel
from tokbench.records.protocol import get_protocol
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


COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 50, 220), "white": (250, 250, 250)}
PAINTED = 60


class Painted(ImageSource):
    """Pictures of one colour over patches that spell their number, 16 px; each third one is without a caption."""

    name, ready_size, ids = "painted", 16, tuple(f"p{number:03d}" for number in range(PAINTED))

    def colour(self, index: int) -> str:
        return list(COLOURS)[index % len(COLOURS)]

    def read(self, index: int) -> Image.Image:
        picture = Image.new("RGB", (16, 16), COLOURS[self.colour(index)])
        for place in range(8):
            x, y = place % 4 * 4, 8 + place // 4 * 4
            picture.paste(((index >> place) % 2 * 255,) * 3, (x, y, x + 4, y + 4))
        return picture

    def raw_digest(self, index: int) -> bytes:
        return bytes(32)

    def caption(self, index: int) -> str | None:
        return None if index % 3 == 2 else f"a picture number {index} in {self.colour(index)}"


@pytest.fixture(scope="session")
def painted_source() -> ImageSource:
    return Painted()


@pytest.fixture(scope="session")
def painted(patch_tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export with captions, in three shards, and a file of edits beside it."""
    folder = tmp_path_factory.mktemp("painted") / "tokens"
    protocol = get_protocol(changes={"size": 16, "micro_batch": 16})
    export(patch_tokenizer, Painted(), folder, protocol=protocol, options=ExportOptions(rows_per_shard=25))
    edits = [{"instruction": f"from {n} to {n + 1}", "images": [f"p{n:03d}", f"p{n + 1:03d}"]} for n in range(0, 20, 2)]
    edits += [{"instruction": f"like {n}", "images": [f"p{n:03d}", f"p{n + 1:03d}", f"p{n + 2:03d}"]} for n in range(30, 36)]
    (folder / "edits.jsonl").write_text("".join(json.dumps(edit) + "\n" for edit in edits))
    return folder


@pytest.fixture(scope="session")
def artist(patch_tokenizer: Tokenizer) -> ImageModel:
    """A model of 32 px images with its tokenizer, the smallest at which scenes are drawn; its weights are random."""
    vocabulary = vocabulary_of(patch_tokenizer, 32)
    network = random_llama(vocabulary, initializer_range=0.3, num_hidden_layers=1)
    model = LanguageModel(network, vocabulary, (32, 32), patch_tokenizer.layout(32, 32).grid, {"stages": ["none"]})
    return ImageModel(model, patch_tokenizer)
