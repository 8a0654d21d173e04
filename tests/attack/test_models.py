"""Mutated folders of language models: loaded whole and sampled from, or refused in one line."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import tokbench
from tokbench.feed import ByteText, Vocabulary, identify
from tokbench.lm.asking import image_of, request_of
from tokbench.lm.model import LanguageModel
from tokbench.lm.sampling import sample

transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = tokbench.load("patch")
    layout = tokenizer.layout(16, 16)
    vocabulary = Vocabulary.over(ByteText(), layout, identify(tokenizer))
    torch.manual_seed(0)
    network = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=vocabulary.size, max_position_embeddings=64, **SIZES))
    folder = tmp_path_factory.mktemp("lm") / "model"
    LanguageModel(network, vocabulary, (16, 16), layout.grid, {"stages": []}).save(folder)
    return folder


def _use(folder: Path) -> None:
    """What one does with a model: draw an image."""
    model = LanguageModel.load(folder)
    if len(model.grid) != 2 or model.grid[0] * model.grid[1] > 64:
        return  # a larger image than it was trained on takes its time, and is none of the reader's business
    request = request_of(model, "generate", text="red")
    (answer,) = sample(model, [request])
    assert image_of(model, request, answer).grid == model.grid


@pytest.mark.filterwarnings("ignore")
def test_mutated_models_load_or_are_refused(trial: Callable, saved: Path, mutate: Callable, mutate_text: Callable) -> None:
    attack = trial("models")
    files = sorted(path.name for path in saved.iterdir() if path.suffix in (".json", ".safetensors"))
    assert len(files) >= 4
    for number, chance in attack:
        folder = attack.inside / "model"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(saved, folder)
        target = folder / chance.choice(files)
        what, bad = _mutated(target, chance, mutate, mutate_text)
        target.unlink()
        if bad is not None:
            target.write_bytes(bad)
        with attack.case(f"{number} {target.name} {what[:60]!r}"):
            _use(folder)
    attack.finish()


def _mutated(target: Path, chance: random.Random, mutate: Callable, text: Callable) -> tuple[str, bytes | None]:
    data = target.read_bytes()
    if chance.random() < 0.05:
        return "lost", None
    if target.suffix == ".json":
        return text(data.decode(), chance)
    if chance.random() < 0.5:
        return mutate(data, chance)
    size = int.from_bytes(data[:8], "little")
    what, header = text(data[8 : 8 + size].decode(), chance)
    return f"header {what}", len(header).to_bytes(8, "little") + header + data[8 + size :]


def test_the_whole_model_is_used(saved: Path) -> None:
    """An attack on a reader that refuses everything would show nothing."""
    _use(saved)
