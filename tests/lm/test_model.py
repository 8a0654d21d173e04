"""A language model as a folder: what is written is read, and what is not one is refused in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tokbench.errors import TokbenchError
from tokbench.feed import ByteText, FileText, Vocabulary
from tokbench.lm.model import ABOUT, TEXT, VOCABULARY, LanguageModel
from tokbench.lm.network import read_network

transformers = pytest.importorskip("transformers")

IDS = torch.tensor([[1, 2, 3, 300, 400]])


@pytest.fixture
def saved(tiny: LanguageModel, tmp_path: Path) -> Path:
    tiny.save(tmp_path / "model")
    return tmp_path / "model"


def logits(model: LanguageModel) -> torch.Tensor:
    with torch.no_grad():
        return model.network(IDS).logits


def change(path: Path, edit: Callable[[Any], Any]) -> None:
    values = json.loads(path.read_text())
    edit(values)
    path.write_text(json.dumps(values))


def test_what_is_saved_is_loaded(tiny: LanguageModel, saved: Path) -> None:
    model = LanguageModel.load(saved)
    assert torch.equal(logits(model), logits(tiny))
    assert (model.vocabulary, model.image_size, model.grid, model.recipe) == (tiny.vocabulary, tiny.image_size, tiny.grid, tiny.recipe)
    assert model.identity == tiny.vocabulary.image_tokenizer
    assert not model.network.training
    assert model.device.type == "cpu"


def test_the_folder_is_one_of_transformers(tiny: LanguageModel, saved: Path) -> None:
    network = transformers.AutoModelForCausalLM.from_pretrained(saved)
    with torch.no_grad():
        assert torch.equal(network(IDS).logits, logits(tiny))


def test_whoever_reads_one_file_of_a_model_reads_all(saved: Path) -> None:
    assert len({path.stat().st_mode for path in saved.iterdir()}) == 1


def test_saving_again_replaces_and_leaves_no_draft(tiny: LanguageModel, saved: Path) -> None:
    later = replace(tiny, recipe={"stages": ["pretrain", "quality"]})
    later.save(saved)
    assert LanguageModel.load(saved).recipe == {"stages": ["pretrain", "quality"]}
    assert not [path.name for path in saved.iterdir() if path.name.startswith(".")]


def test_dtype_is_float32_unless_told(tiny: LanguageModel, tmp_path: Path) -> None:
    half = replace(tiny, network=transformers.LlamaForCausalLM(tiny.network.config).half())
    half.save(tmp_path)
    assert LanguageModel.load(tmp_path).network.dtype == torch.float32
    assert LanguageModel.load(tmp_path, dtype=torch.bfloat16).network.dtype == torch.bfloat16


def test_weights_are_saved_in_half_the_size(tiny: LanguageModel, saved: Path, tmp_path: Path) -> None:
    tiny.save(tmp_path / "half", dtype=torch.float16)
    whole, half = ((folder / "model.safetensors").stat().st_size for folder in (saved, tmp_path / "half"))
    assert half < 0.6 * whole
    assert tiny.network.dtype == torch.float32  # a copy was written
    read = LanguageModel.load(tmp_path / "half")
    for name, value in read.network.state_dict().items():
        assert torch.equal(value, tiny.network.state_dict()[name].half().float())


@pytest.mark.parametrize("kind", ["gpt2", "mixtral", "qwen2"])
def test_other_architectures(tiny: LanguageModel, tmp_path: Path, kind: str) -> None:
    config = transformers.AutoConfig.for_model(kind)
    sizes = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "vocab_size": tiny.vocabulary.size}
    other = {"intermediate_size": 16, "num_key_value_heads": 1, "num_local_experts": 2} if kind != "gpt2" else {}
    config = type(config)(**sizes, **other, bos_token_id=None, eos_token_id=None)
    model = replace(tiny, network=transformers.AutoModelForCausalLM.from_config(config).eval())
    model.save(tmp_path)
    read = LanguageModel.load(tmp_path)
    assert torch.equal(logits(read), logits(model))
    assert read.network.loss_type == "ForCausalLM"  # else the library warns of some of them when they are trained


def test_shards_are_read(tiny: LanguageModel, saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    tiny.network.save_pretrained(saved, max_shard_size="10KB")
    assert (saved / "model.safetensors.index.json").is_file()
    assert torch.equal(logits(LanguageModel.load(saved)), logits(tiny))


def test_a_padded_embedding_is_fine(tiny: LanguageModel, tmp_path: Path) -> None:
    network = transformers.LlamaForCausalLM(transformers.LlamaConfig(**tiny.network.config.to_dict() | {"vocab_size": 1408}))
    replace(tiny, network=network).save(tmp_path)
    assert LanguageModel.load(tmp_path).network.config.vocab_size == 1408


def test_the_text_tokenizer_comes_along(tiny: LanguageModel, tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: number for number, word in enumerate([*"0123456789*", "red", "[UNK]"])}
    words_only = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    words_only.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"\d|\*|\w+"), "isolated")
    words_only.save(str(tmp_path / "words.json"))
    text = FileText.open(tmp_path / "words.json")
    special = replace(tiny.vocabulary.special)
    vocabulary = Vocabulary(special, text, tiny.identity, tiny.vocabulary.codebook_sizes, tiny.vocabulary.offsets)
    replace(tiny, vocabulary=vocabulary).save(tmp_path / "model")
    (tmp_path / "words.json").unlink()
    loaded = LanguageModel.load(tmp_path / "model").vocabulary
    assert loaded == vocabulary
    assert loaded.text.decode(loaded.text.encode("red")) == "red"
    assert (tmp_path / "model" / TEXT).is_file()
    (tmp_path / "model" / "tokenizer.json").unlink()
    with pytest.raises(TokbenchError, match=r"model has no tokenizer\.json, by which its vocabulary writes words; save the model again"):
        LanguageModel.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("stages", "guidance"),
    [
        ([{"recipe": {"guidance": 3}}, {"recipe": {"guidance": 2.5}}, {"recipe": {}}], 2.5),
        ([{"recipe": {"guidance": 2.0}}, {"recipe": {"guidance": "9"}}, "?", {"recipe": 7}], 2.0),
        ([{"recipe": {"guidance": float("nan")}}], 1.0),
        ("none", 1.0),
    ],
)
def test_guidance_is_what_the_last_stage_says(tiny: LanguageModel, stages: object, guidance: float) -> None:
    assert replace(tiny, recipe={"stages": stages}).guidance == guidance


def test_parts_that_do_not_fit_together(tiny: LanguageModel) -> None:
    small = transformers.LlamaForCausalLM(transformers.LlamaConfig(**tiny.network.config.to_dict() | {"vocab_size": 300}))
    with pytest.raises(ValueError, match="the weights have 300 ids, the vocabulary has"):
        replace(tiny, network=small)
    with pytest.raises(ValueError, match="has not the 2 axes"):
        replace(tiny, grid=(16,))
    with pytest.raises(ValueError, match="image_size and grid are 2 and 1 or 2 numbers"):
        replace(tiny, image_size=(0, 16))
    parallel = Vocabulary(
        tiny.vocabulary.special, ByteText(), tiny.identity, tiny.vocabulary.codebook_sizes, tiny.vocabulary.offsets, arrangement="parallel"
    )
    with pytest.raises(ValueError, match="takes a flat vocabulary"):
        replace(tiny, vocabulary=parallel)


BAD = {
    "nothing": (lambda f: shutil.rmtree(f), "holds no language model, it has no language_model.json; make one with: tokbench lm train"),
    "no about": (lambda f: (f / ABOUT).unlink(), "holds no language model, it has no language_model.json"),
    "no vocabulary": (lambda f: (f / VOCABULARY).unlink(), "vocabulary.json cannot be read"),
    "no configuration": (lambda f: (f / "config.json").unlink(), "it has no config.json"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "has no weights, neither model.safetensors nor pytorch_model.bin"),
    "a checkpoint alone": (lambda f: (f / "model.safetensors").rename(f / "checkpoint.pt"), "has no weights, neither model.safetensors"),
    "newer": (lambda f: change(f / ABOUT, lambda v: v.update(schema=2)), "has schema 2, this tokbench reads up to 1; install a newer one"),
    "no schema": (lambda f: change(f / ABOUT, lambda v: v.pop("schema")), "is damaged (its schema is None, not 1)"),
    "a list": (lambda f: (f / ABOUT).write_text("[]"), "is damaged (its schema is None, not 1)"),
    "no grid": (lambda f: change(f / ABOUT, lambda v: v.pop("grid")), "is damaged (it has no grid)"),
    "another grid": (lambda f: change(f / ABOUT, lambda v: v.update(grid=[16])), "holds files that do not fit together: the grid (16,)"),
    "not json": (lambda f: (f / ABOUT).write_text("{"), "is damaged"),
    "unknown kind": (lambda f: change(f / "config.json", lambda v: v.update(model_type="lama")), "unknown model_type 'lama'; did you mean"),
    "more layers": (lambda f: change(f / "config.json", lambda v: v.update(num_hidden_layers=3)), "asks for"),
    "fewer layers": (lambda f: change(f / "config.json", lambda v: v.update(num_hidden_layers=1)), "9 unknown: model.layers.1"),
    "huge": (lambda f: change(f / "config.json", lambda v: v.update(num_hidden_layers=10**6)), "it must be 1 to 1024"),
    "a word": (lambda f: change(f / "config.json", lambda v: v.update(hidden_size="16")), "holds no usable LlamaForCausalLM"),
    "other weights": (lambda f: change(f / "config.json", lambda v: v.update(vocab_size=300)), "of another shape: lm_head.weight"),
}


@pytest.mark.parametrize("what", BAD)
def test_damaged_folders_are_refused_in_one_line(saved: Path, what: str) -> None:
    damage, message = BAD[what]
    damage(saved)
    with pytest.raises(TokbenchError) as caught:
        LanguageModel.load(saved)
    assert message in str(caught.value)
    assert str(saved) in str(caught.value) or str(saved.name) in str(caught.value)


def test_a_vocabulary_that_does_not_match_the_weights(tiny: LanguageModel, saved: Path) -> None:
    def larger(values: dict[str, Any]) -> None:
        values["codebook_sizes"] = [4096]

    change(saved / VOCABULARY, larger)
    with pytest.raises(TokbenchError, match="do not fit together: the weights have 1288 ids, the vocabulary has 4360"):
        LanguageModel.load(saved)


def test_weights_that_are_not_finite(tiny: LanguageModel, saved: Path) -> None:
    network = transformers.LlamaForCausalLM(tiny.network.config)
    with torch.no_grad():
        network.model.norm.weight[0] = torch.nan
    network.save_pretrained(saved)
    with pytest.raises(TokbenchError, match=r"holds NaN or infinity in model\.norm\.weight"):
        LanguageModel.load(saved)


def test_adapters_without_their_model_are_named(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(TokbenchError, match="holds adapters of peft without their model; merge them into it, with merge_and_unload"):
        read_network(tmp_path)


def test_settings_that_fetch_or_run_code_are_not_read(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hostile(values: dict[str, Any]) -> None:
        values["attn_implementation"] = values["_attn_implementation"] = "somebody/kernel"
        values["auto_map"] = {"AutoModelForCausalLM": "model.Evil"}
        values["quantization_config"] = {"quant_method": "gptq"}
        values["rope_parameters"] = values["rope_parameters"] | {"attn_implementation": "somebody/kernel"}

    change(saved / "config.json", hostile)
    network = read_network(saved)
    assert network.config._attn_implementation in ("sdpa", "eager")
    assert not hasattr(network.config, "quantization_config")
    assert "attn_implementation" not in network.config.rope_parameters
