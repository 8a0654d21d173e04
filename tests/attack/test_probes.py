"""Mutated folders of saved probes: loaded whole and used, or refused in one line."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import tokbench
from tokbench.feed import ByteText, Vocabulary, build, identify
from tokbench.feed.probe.saved import ProbeForm, load_probe, read_probe_form, save_probe

transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = tokbench.load("patch")
    layout = tokenizer.layout(16, 16)
    vocabulary = Vocabulary.over(ByteText(), layout, identify(tokenizer))
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=vocabulary.size, max_position_embeddings=64, **SIZES))
    folder = tmp_path_factory.mktemp("probe") / "probe"
    save_probe(model, vocabulary, folder, form=ProbeForm(layout.grid, (16, 16), "none"))
    return folder


def _use(folder: Path) -> None:
    """What one does with a probe: ids of a text, logits, and what form its images have."""
    model, vocabulary = load_probe(folder)
    form = read_probe_form(folder)
    assert len(form.grid) in (1, 2)
    ids = build(["red"], vocabulary).ids
    with torch.no_grad():
        assert model(ids[None]).logits.shape[-1] == vocabulary.size


def _mutated_weights(data: bytes, chance: random.Random, mutate: Callable, text: Callable) -> tuple[str, bytes]:
    if chance.random() < 0.5:
        return mutate(data, chance)
    size = int.from_bytes(data[:8], "little")
    what, header = text(data[8 : 8 + size].decode(), chance)
    return f"header {what}", len(header).to_bytes(8, "little") + header + data[8 + size :]


@pytest.mark.filterwarnings("ignore")
def test_mutated_probes_load_or_are_refused(trial: Callable, saved: Path, mutate: Callable, mutate_text: Callable) -> None:
    attack = trial("probes")
    files = sorted(path.name for path in saved.iterdir() if path.is_file() and path.suffix in (".json", ".safetensors"))
    assert len(files) >= 4
    for number, chance in attack:
        folder = attack.inside / "probe"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(saved, folder)
        target = folder / chance.choice(files)
        data = target.read_bytes()
        lost = chance.random() < 0.05
        if lost:
            what, bad = "lost", b""
        elif target.suffix == ".json":
            what, bad = mutate_text(data.decode(), chance)
        else:
            what, bad = _mutated_weights(data, chance, mutate, mutate_text)
        target.unlink()
        if not lost:
            target.write_bytes(bad)
        with attack.case(f"{number} {target.name} {what[:60]!r}"):
            _use(folder)
    attack.finish()


def test_the_whole_probe_is_used(saved: Path) -> None:
    """An attack on a reader that refuses everything would show nothing."""
    _use(saved)
