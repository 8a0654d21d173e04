"""Sampling: whole images, the logits of a network that reads everything anew, and choices that depend on their seed alone."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tokbench.errors import TokbenchError
from tokbench.feed import ByteText, Vocabulary, parse
from tokbench.layout import TokenLayout
from tokbench.lm.choice import choose
from tokbench.lm.model import LanguageModel
from tokbench.lm.options import SamplingOptions
from tokbench.lm.reading import Reader
from tokbench.lm.sampling import Request, sample, seed_of
from tokbench.lm.tasks import prompt_of
from tokbench.tokens import DiscreteTokens

transformers = pytest.importorskip("transformers")

WORDS = ["red", "a blue square", "red", "a green circle left of a blue square", ""]


def drawing(model: LanguageModel, words: Sequence[str]) -> list[Request]:
    wordless = prompt_of("generate", model.vocabulary, grid=model.grid)
    prompts = [prompt_of("generate", model.vocabulary, text=text, grid=model.grid) for text in words]
    return [Request(ids, seed_of(0, ids, number), wordless) for number, ids in enumerate(prompts)]


def read_image(model: LanguageModel, request: Request, answer: list[int]) -> DiscreteTokens:
    image = parse([*request.ids, *answer], model.vocabulary)[-1]
    assert isinstance(image, DiscreteTokens)
    return image


def with_network(tiny: LanguageModel, kind: str) -> LanguageModel:
    """The same model on another architecture."""
    sizes: dict[str, Any] = {"vocab_size": tiny.vocabulary.size, "num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2}
    if kind == "mixtral":
        sizes |= {"intermediate_size": 16, "num_key_value_heads": 1, "num_local_experts": 2, "initializer_range": 0.3}
    config = type(transformers.AutoConfig.for_model(kind))(**sizes, bos_token_id=None, eos_token_id=None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return replace(tiny, network=transformers.AutoModelForCausalLM.from_config(config).eval())


OPTIONS = [
    SamplingOptions(),
    SamplingOptions(temperature=0),
    SamplingOptions(temperature=3.0),
    SamplingOptions(top_k=5, top_p=0.8, guidance=3.0),
    SamplingOptions(guidance=-1.0),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_drawn_image_is_whole(tiny: LanguageModel, options: SamplingOptions) -> None:
    requests = drawing(tiny, WORDS)
    for request, answer in zip(requests, sample(tiny, requests, options), strict=True):
        assert read_image(tiny, request, answer).grid == tiny.grid
        assert answer[-1] == tiny.vocabulary.special.eos


@pytest.mark.parametrize(("grid", "sizes"), [((2, 3), (5, 7)), ((6,), (9,)), ((4,), (3, 4, 5))])
def test_images_of_other_forms_are_whole(tiny: LanguageModel, grid: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    vocabulary = Vocabulary.over(ByteText(), TokenLayout((8, 8), grid, sizes), tiny.identity)
    model = LanguageModel(tiny.network, vocabulary, (8, 8), grid)  # it has ids to spare
    requests = drawing(model, WORDS)
    drawn = [read_image(model, *pair) for pair in zip(requests, sample(model, requests), strict=True)]
    assert {image.grid for image in drawn} == {grid}
    assert len({tuple(image.codes.flatten().tolist()) for image in drawn}) > 1


@pytest.mark.parametrize("kind", ["mamba", "openai-gpt"])
def test_networks_without_attention_or_without_keys_and_values(tiny: LanguageModel, kind: str, tmp_path: Path) -> None:
    with_network(tiny, kind).save(tmp_path)
    model = LanguageModel.load(tmp_path)
    ids = torch.randint(model.vocabulary.size, (2, 12), generator=torch.Generator().manual_seed(0))
    reader = Reader(model.network, ids[:, :7].tolist())
    for done in (7, 8, 12):
        with torch.no_grad():
            anew = model.network(ids[:, :done], use_cache=False).logits[:, -1].double()
            assert (reader.scores() - anew).abs().max() < 1e-4
        reader.add(ids[:, done : 12 if done == 8 else done + 1])
    (request,) = drawing(model, ["red"])
    assert read_image(model, request, sample(model, [request])[0]).grid == model.grid


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mixtral"])
def test_scores_are_those_of_reading_everything_anew(tiny: LanguageModel, kind: str) -> None:
    model = tiny if kind == "llama" else with_network(tiny, kind)
    ids = torch.randint(model.vocabulary.size, (3, 40), generator=torch.Generator().manual_seed(0))
    reader, done = Reader(model.network, ids[:, :7].tolist()), 7
    for more in (1, 1, 2, 5, 1, 16, 7):
        with torch.no_grad():
            anew = model.network(ids[:, :done]).logits[:, -1].double()
            assert (reader.scores() - anew).abs().max() < 1e-4
        reader.add(ids[:, done : done + more])
        done += more


@pytest.mark.parametrize("options", [SamplingOptions(), SamplingOptions(top_k=50, guidance=2.5)], ids=str)
def test_a_sample_depends_on_its_seed_alone(tiny: LanguageModel, options: SamplingOptions) -> None:
    requests = drawing(tiny, WORDS * 2)
    together = sample(tiny, requests, options)
    assert sample(tiny, requests[::-1], options)[::-1] == together
    assert [sample(tiny, [request], options)[0] for request in requests] == together
    assert sample(tiny, requests, replace(options, batch_size=1)) == together
    assert sample(tiny, requests, replace(options, batch_size=3)) == together


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 33])
def test_batches_of_any_size_draw_the_same(tiny: LanguageModel, size: int) -> None:
    """Of scores that lie close together and are led apart, a last digit would choose another."""
    options = SamplingOptions(top_k=50, guidance=4.0)
    requests = [replace(request, seed=seed) for seed in range(12) for request in drawing(tiny, WORDS[:2])]
    assert sample(tiny, requests, replace(options, batch_size=size)) == sample(tiny, requests, options)


def test_batches_of_one_size_round_in_one_way(tiny: LanguageModel) -> None:
    """Filled up to the same rows, a batch gives a row the same bits wherever it stands and whatever stands beside it."""
    ids = torch.randint(tiny.vocabulary.size, (16, 12), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        scores = Reader(tiny.network, ids.tolist()).scores()
        moved = Reader(tiny.network, [ids[5].tolist()] * 16).scores()
    assert torch.equal(moved, scores[5].expand(16, -1))


def test_seeds_tell_samples_apart(tiny: LanguageModel) -> None:
    (request,) = drawing(tiny, ["red"])
    seeds = [seed_of(seed, request.ids, number) for seed in (0, 1) for number in range(4)]
    assert len(set(seeds)) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(0, drawing(tiny, ["blue"])[0].ids, 0) not in seeds
    answers = sample(tiny, [replace(request, seed=seed) for seed in seeds])
    assert len({tuple(answer) for answer in answers}) == 8


def test_guidance_goes_from_the_wordless_prompt_to_the_told_one(tiny: LanguageModel) -> None:
    (request,) = drawing(tiny, ["a blue square"])
    wordless = replace(request, ids=request.wordless)
    assert sample(tiny, [request], SamplingOptions(guidance=0)) == sample(tiny, [wordless])
    assert sample(tiny, [request], SamplingOptions(guidance=1 + 1e-12)) == sample(tiny, [request])
    assert sample(tiny, [request], SamplingOptions(guidance=4)) != sample(tiny, [request])
    with pytest.raises(ValueError, match="give every request its wordless"):
        sample(tiny, [replace(request, wordless=())], SamplingOptions(guidance=2))


def test_without_words_there_is_nothing_to_be_led_away_from(tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    (request,) = drawing(tiny, [""])
    plain = sample(tiny, [request])
    readers = []
    monkeypatch.setattr("tokbench.lm.sampling.Reader", lambda *given: readers.append(given) or Reader(*given))
    assert sample(tiny, [request], SamplingOptions(guidance=3)) == plain
    assert len(readers) == 1


def test_forced_ids_are_not_computed(tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, forward = [], tiny.network.forward
    (request,) = drawing(tiny, ["red"])

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(kwargs["input_ids"].shape[1])
        return forward(*args, **kwargs)

    counted.__signature__ = inspect.signature(forward)  # type: ignore[attr-defined]
    monkeypatch.setattr(tiny.network, "forward", counted)
    sample(tiny, [request])
    assert calls == [len(request.ids), 1, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1]  # 16 codes; EOL comes with what follows it


def test_an_image_that_is_begun_keeps_its_beginning(tiny: LanguageModel, patch_tokenizer: Any) -> None:
    pixels = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    image = patch_tokenizer.encode(pixels)
    begun = prompt_of("complete", tiny.vocabulary, images=[image])
    requests = [Request(begun, seed) for seed in range(4)]
    drawn = [read_image(tiny, *pair) for pair in zip(requests, sample(tiny, requests), strict=True)]
    assert all(torch.equal(one.codes[0, :8], image.codes[0, :8]) for one in drawn)
    assert len({tuple(one.codes[0, 8:].flatten().tolist()) for one in drawn}) == 4


def test_a_prompt_without_the_size_gets_the_size_of_the_model(tiny: LanguageModel) -> None:
    request = Request(prompt_of("generate", tiny.vocabulary, text="red"), 0)
    assert read_image(tiny, request, sample(tiny, [request])[0]).grid == tiny.grid


def test_text_ends_in_time(tiny: LanguageModel) -> None:
    special = tiny.vocabulary.special
    prompts = [prompt_of("text", tiny.vocabulary, text=text) for text in ("a", "a small", "b")]
    answers = sample(tiny, [Request(ids, 3) for ids in prompts for _ in range(3)], longest_text=9)
    assert all(answer[-1] == special.eos and len(answer) <= 9 and max(answer[:-1], default=0) < 256 for answer in answers)
    assert answers[0] == answers[1]
    assert sample(tiny, [Request(prompts[0], 0)], longest_text=1) == [[special.eos]]


def test_progress_and_nothing_to_do(tiny: LanguageModel) -> None:
    seen: list[tuple[int, int]] = []
    sample(tiny, drawing(tiny, WORDS), SamplingOptions(batch_size=1), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 5) for done in range(1, 6)]
    assert sample(tiny, []) == []


def test_an_image_of_another_size_is_refused(tiny: LanguageModel) -> None:
    other = prompt_of("generate", tiny.vocabulary, text="red", grid=(2, 2))
    with pytest.raises(TokbenchError, match=r"of size '2\*2' that cannot become one of the sizes allowed \(4\*4\)"):
        sample(tiny, [Request(other, 0)])


def test_a_prompt_that_leaves_no_room_is_refused(tiny: LanguageModel) -> None:
    (request,) = drawing(tiny, ["a" * 500])
    with pytest.raises(
        TokbenchError, match="a prompt of 506 ids with an answer of up to 23 is longer than the 512 ids that the model takes"
    ):
        sample(tiny, [request])


def test_no_prompt_is_answered_where_one_leaves_no_room(tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    scores = Reader.scores
    monkeypatch.setattr(Reader, "scores", lambda reader: read.append(1) or scores(reader))
    with pytest.raises(TokbenchError, match="shorten the prompt"):
        sample(tiny, drawing(tiny, ["red", "a" * 500]))
    assert not read


def test_a_text_takes_the_room_that_there_is(tiny: LanguageModel) -> None:
    ids = prompt_of("text", tiny.vocabulary, text="a" * 500)
    (answer,) = sample(tiny, [Request(ids, 0)])
    assert 1 <= len(answer) <= 512 - len(ids)
    with pytest.raises(TokbenchError, match="of up to 1 is longer than the 512 ids"):
        sample(tiny, [Request(prompt_of("text", tiny.vocabulary, text="a" * 511), 0)])


def test_a_network_that_still_trains_drops_nothing_out(tiny: LanguageModel) -> None:
    model = with_network(tiny, "gpt2")  # which has dropout
    requests = drawing(model, WORDS[:2])
    expected = sample(model, requests)
    model.network.train()
    assert sample(model, requests) == expected
    assert model.network.training, "it is left as it was"


def test_the_coldest_temperatures_take_the_likeliest(tiny: LanguageModel) -> None:
    scores = torch.tensor([[-3.0, 5.0, 4.0], [1e6, 0.0, -1e6]], dtype=torch.float64)
    for temperature in (1e-90, 1e-308, 5e-324):
        assert choose(scores, torch.tensor([0.99, 0.99], dtype=torch.float64), SamplingOptions(temperature)).tolist() == [1, 0]


def test_guidance_beyond_all_numbers_is_named(tiny: LanguageModel) -> None:
    with pytest.raises(TokbenchError, match=r"a guidance of 1e\+308 leads to scores that are not finite; give one nearer to 1"):
        sample(tiny, drawing(tiny, ["red"]), SamplingOptions(guidance=1e308))


def test_scores_that_are_not_finite_are_named(tiny: LanguageModel) -> None:
    network = type(tiny.network)(tiny.network.config)
    with torch.no_grad():
        network.model.norm.weight.fill_(torch.inf)
    with pytest.raises(TokbenchError, match="values that are not finite; use --precision fp32, or another model"):
        sample(replace(tiny, network=network), drawing(tiny, ["red"]))
