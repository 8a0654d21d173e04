"""Networks to begin with: a small one that follows from its seed, and text models that learn to read images."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import tokbench
from tokbench.errors import TokbenchError
from tokbench.feed import FileText, Vocabulary, identify
from tokbench.lm.build import LoraOptions, code_vectors, extend, open_base, tiny_network, with_lora
from tokbench.lm.model import LanguageModel
from tokbench.lm.recipes import NetworkSizes
from tokbench.tokenizers.base import Tokenizer

transformers = pytest.importorskip("transformers")

WORDS = ["red", "green", "circle", "square", *"0123456789*", "a", "make", "it"]


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random text model as its makers save it: config, weights and tokenizer, with rows to spare."""
    import tokenizers

    folder = tmp_path_factory.mktemp("text")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="a"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    words.decoder = tokenizers.decoders.Fuse()
    words.save(str(folder / "tokenizer.json"))
    config = transformers.LlamaConfig(
        vocab_size=len(WORDS) + 3,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def vocabulary_over(folder: Path, tokenizer: Tokenizer) -> Vocabulary:
    return Vocabulary.over(FileText.open(folder / "tokenizer.json"), tokenizer.layout(16, 16), identify(tokenizer))


def rows(network: Any) -> torch.Tensor:
    return network.get_input_embeddings().weight.detach()


def test_a_small_network_follows_from_its_seed(tiny: LanguageModel) -> None:
    config = NetworkSizes(layers=1, hidden_size=24, heads=2, intermediate_size=32, positions=64)
    first, again, other = (tiny_network(tiny.vocabulary, config, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(rows(first), rows(again))
    assert not torch.equal(rows(first), rows(other))
    assert len(rows(first)) == tiny.vocabulary.size
    special = tiny.vocabulary.special
    assert (first.config.bos_token_id, first.config.eos_token_id, first.config.pad_token_id) == (special.bos, special.eos, special.pad)
    assert first.get_output_embeddings().weight is first.get_input_embeddings().weight


@pytest.mark.parametrize("changes", [{"layers": 0}, {"hidden_size": 30, "heads": 4}, {"hidden_size": 6, "heads": 2}])
def test_sizes_that_make_no_network(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"must be (positive|a multiple of twice the heads)"):
        NetworkSizes(**changes)


def test_a_text_model_learns_to_read_images(text_model: Path, patch_tokenizer: Tokenizer) -> None:
    network, text = open_base(str(text_model))
    before = rows(network).clone()
    vocabulary = vocabulary_over(text_model, patch_tokenizer)
    assert text == vocabulary.text
    vectors = code_vectors(patch_tokenizer, patch_tokenizer.layout(16, 16))
    assert vectors is not None
    extended = extend(network, vocabulary, vectors=vectors, seed=3)
    after, first, middle = rows(extended), vocabulary.offsets[0], before[: len(WORDS)].mean(dim=0)
    assert len(after) == vocabulary.size == len(WORDS) + 8 + 1024
    assert torch.equal(after[: len(WORDS)], before[: len(WORDS)])
    assert torch.allclose(after[len(WORDS) : first], middle.expand(8, -1), atol=1e-6)
    codes = after[first:]
    assert torch.allclose(codes.mean(dim=0), middle, atol=1e-5)
    assert float((codes - codes.mean(dim=0)).std()) == pytest.approx(float((before[: len(WORDS)] - middle).std()), rel=1e-3)
    # Codes that look alike are alike: distances of rows follow those of the tokenizer's vectors.
    pairs = torch.randint(1024, (2, 500), generator=torch.Generator().manual_seed(0))
    seen, learned = ((part[pairs[0]] - part[pairs[1]]).norm(dim=1) for part in (vectors[0], codes))
    assert float(torch.corrcoef(torch.stack([seen, learned]))[0, 1]) > 0.7
    head = extended.get_output_embeddings().weight
    assert torch.allclose(head[len(WORDS) :], head[: len(WORDS)].mean(dim=0).expand(1032, -1), atol=1e-6)
    assert extended.config.pad_token_id == vocabulary.special.pad


def test_without_vectors_codes_begin_as_the_mean(text_model: Path, patch_tokenizer: Tokenizer) -> None:
    network, _ = open_base(str(text_model))
    vocabulary = vocabulary_over(text_model, patch_tokenizer)
    after = rows(extend(network, vocabulary))
    assert torch.allclose(after[len(WORDS) :], after[: len(WORDS)].mean(dim=0).expand(1032, -1), atol=1e-6)


def test_vectors_of_each_codebook() -> None:
    flow = tokbench.load("flowmo")
    layout = flow.layout(64, 64)
    vectors = code_vectors(flow, layout)
    assert vectors is not None
    assert [len(part) for part in vectors] == list(layout.codebook_sizes)
    assert all(len(part.unique(dim=0)) == len(part) for part in vectors)


def test_an_extended_model_is_saved_and_loaded(text_model: Path, patch_tokenizer: Tokenizer, tmp_path: Path) -> None:
    network, _ = open_base(str(text_model))
    vocabulary = vocabulary_over(text_model, patch_tokenizer)
    LanguageModel(extend(network, vocabulary), vocabulary, (16, 16), (4, 4)).save(tmp_path)
    loaded = LanguageModel.load(tmp_path)
    assert torch.equal(rows(loaded.network), rows(network))
    assert loaded.vocabulary.text.encode("3*2") == [WORDS.index(letter) for letter in "3*2"]


def test_adapters_train_themselves_and_new_rows_alone(text_model: Path, patch_tokenizer: Tokenizer) -> None:
    pytest.importorskip("peft")
    network, _ = open_base(str(text_model))
    extend(network, vocabulary_over(text_model, patch_tokenizer))
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        before = network(ids).logits
        wrapped = with_lora(network, LoraOptions(rank=2), train_embedding=True, seed=0)
        assert torch.equal(wrapped(ids).logits, before)
    trained = {name.split(".")[-2] for name, weight in wrapped.named_parameters() if weight.requires_grad}
    assert trained == {"default", "embed_tokens", "lm_head"}
    assert isinstance(wrapped.merge_and_unload(), transformers.LlamaForCausalLM)
    adapted = with_lora(open_base(str(text_model))[0], LoraOptions(rank=2), train_embedding=False, seed=0)
    assert {name.split(".")[-2] for name, weight in adapted.named_parameters() if weight.requires_grad} == {"default"}


def test_adapters_of_matrices_that_lie_the_other_way_round(recwarn: pytest.WarningsRecorder) -> None:
    pytest.importorskip("peft")
    network = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2, n_positions=8)).eval()
    wrapped, ids = with_lora(network, LoraOptions(rank=2), train_embedding=False, seed=0), torch.tensor([[1, 2, 3]])
    assert not [warning for warning in recwarn if "fan_in_fan_out" in str(warning.message)]
    with torch.no_grad():
        before = wrapped(ids).logits
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name:
                weight.normal_()
        adapted = wrapped(ids).logits
        assert not torch.allclose(adapted, before, atol=1e-2)
        assert torch.allclose(wrapped.merge_and_unload()(ids).logits, adapted, atol=1e-4)


def test_bases_that_cannot_be_read(text_model: Path, tmp_path: Path) -> None:
    with pytest.raises(TokbenchError, match=r"holds no language model, it has no config.json"):
        open_base(str(tmp_path))
    config = json.loads((text_model / "config.json").read_text())
    network = transformers.LlamaForCausalLM(transformers.LlamaConfig(**(config | {"vocab_size": 4})))
    network.save_pretrained(tmp_path)
    with pytest.raises(TokbenchError, match=re.escape(f"{tmp_path} has no tokenizer.json; save the model's text tokenizer there too")):
        open_base(str(tmp_path))
    (tmp_path / "tokenizer.json").write_bytes((text_model / "tokenizer.json").read_bytes())
    with pytest.raises(TokbenchError, match=rf"has {len(WORDS)} ids, its network 4; give the tokenizer of that network"):
        open_base(str(tmp_path))


@pytest.mark.parametrize("changes", [{"rank": 0}, {"dropout": 1.0}])
def test_adapters_of_no_size(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="rank must be positive and dropout a share below 1"):
        LoraOptions(**changes)
