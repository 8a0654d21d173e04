"""Words and pixels in, pixels and words out: of the right sizes and counts, as a function of words, images and seed alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tokbench
from tokbench.errors import TokbenchError
from tokbench.lm.asking import check_text, image_of, request_of, text_of
from tokbench.lm.image_model import ImageModel
from tokbench.lm.model import LanguageModel
from tokbench.lm.options import SamplingOptions
from tokbench.lm.sampling import sample
from tokbench.lm.turns import edit_in_turns
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.zoo import save_tokenizer
from tokbench.tokens import DiscreteTokens


@pytest.fixture(scope="module")
def painter(tiny: LanguageModel, patch_tokenizer: Tokenizer) -> ImageModel:
    return ImageModel(tiny, patch_tokenizer)


def pixels(count: int, side: int = 16) -> torch.Tensor:
    return torch.randint(256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(count))


def test_generate_draws_so_many_of_each_text(painter: ImageModel) -> None:
    drawn = painter.generate(["a red circle", "a square"], count=3, seed=5)
    assert drawn.dtype == torch.uint8
    assert drawn.shape == (6, 3, 16, 16)
    assert torch.equal(painter.generate(["a square"], count=3, seed=5), drawn[3:])
    assert torch.equal(painter.generate(["a red circle"], count=2, seed=5), drawn[:2])
    assert not torch.equal(painter.generate(["a square"], count=3, seed=6), drawn[3:])
    assert len({image.numpy().tobytes() for image in drawn}) == 6


def test_nothing_asked_is_nothing_drawn(painter: ImageModel) -> None:
    assert painter.generate([]).shape == (0, 3, 16, 16)
    assert painter.complete(pixels(0)).shape == (0, 3, 16, 16)
    assert painter.describe(pixels(0)) == []


def test_what_is_drawn_is_what_the_tokenizer_decodes(painter: ImageModel, tiny: LanguageModel, patch_tokenizer: Tokenizer) -> None:
    request = request_of(tiny, "generate", text="red", seed=1)
    tokens = image_of(tiny, request, sample(tiny, [request])[0])
    assert torch.equal(painter.generate(["red"], seed=1), tokbench.to_uint8(patch_tokenizer.decode(tokens)))


def test_edits_depend_on_their_own_images_and_words(painter: ImageModel) -> None:
    images, words = pixels(3), ["make it red", "make it red", "remove it"]
    edited = painter.edit(images, words, count=2, seed=1)
    assert edited.shape == (6, 3, 16, 16)
    assert torch.equal(painter.edit(images[1:2], words[1:2], count=2, seed=1), edited[2:4])
    assert not torch.equal(edited[:2], edited[2:4])
    like = painter.edit(images, words, first=images.flip(0), seed=1)
    assert not torch.equal(like, edited[::2])


def test_completions_keep_the_upper_rows(painter: ImageModel) -> None:
    images = pixels(2)
    completed = painter.complete(images, count=2, seed=3)
    seen = painter.encode(images)
    assert torch.equal(painter.encode(completed).codes[:, :8], seen.codes[[0, 0, 1, 1], :8])
    assert not torch.equal(painter.complete(images, texts=["red", "red"], count=2, seed=3), completed)


def test_descriptions_are_words(painter: ImageModel) -> None:
    images = pixels(3)
    told = painter.describe(images, longest=12)
    assert told == [painter.describe(images[place : place + 1], longest=12)[0] for place in range(3)]
    assert told == painter.describe(images, longest=12, seed=9)  # the likeliest words
    drawn = painter.describe(images, longest=12, options=SamplingOptions(temperature=2.0))
    assert drawn != painter.describe(images, longest=12, options=SamplingOptions(temperature=2.0), seed=1)


def test_guidance_goes_through(painter: ImageModel) -> None:
    plain, guided = (painter.edit(pixels(1), ["red"], options=SamplingOptions(guidance=guidance)) for guidance in (1.0, 8.0))
    assert not torch.equal(plain, guided)


def test_guidance_of_drawing_is_the_models_where_nobody_chose_one(painter: ImageModel) -> None:
    led = ImageModel(replace(painter.model, recipe={"stages": [{"recipe": {"guidance": 8.0}}, {"recipe": {}}]}), painter.tokenizer)
    ours, theirs = SamplingOptions(guidance=8.0), SamplingOptions(guidance=1.0)
    assert torch.equal(led.generate(["red"]), painter.generate(["red"], options=ours))
    assert torch.equal(led.generate(["red"], options=theirs), painter.generate(["red"]))
    assert torch.equal(led.edit(pixels(1), ["red"]), painter.edit(pixels(1), ["red"]))
    assert torch.equal(led.edit(pixels(1), ["red"], options=ours), painter.edit(pixels(1), ["red"], options=ours))


def test_progress_is_told(painter: ImageModel) -> None:
    seen: list[tuple[int, int]] = []
    painter.generate(["a"], count=3, options=SamplingOptions(batch_size=2), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 3), (3, 3)]


def test_a_folder_is_loaded_with_its_tokenizer(
    painter: ImageModel, tiny: LanguageModel, patch_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    tiny.save(tmp_path)
    expected = painter.generate(["red"], seed=2)
    assert torch.equal(ImageModel.load(tmp_path).generate(["red"], seed=2), expected)
    assert torch.equal(ImageModel.load(tmp_path, tokenizer=patch_tokenizer).generate(["red"], seed=2), expected)
    assert ImageModel.load(tmp_path, precision="bf16").model.network.dtype == torch.bfloat16
    assert ImageModel.load(tmp_path, precision="bf16").generate(["red"]).shape == (1, 3, 16, 16)


def test_a_tokenizer_saved_as_a_folder_is_the_same(tiny: LanguageModel, patch_tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_tokenizer(patch_tokenizer, tmp_path / "patch")
    assert ImageModel(tiny, tokbench.load(str(tmp_path / "patch"))).generate(["red"]).shape == (1, 3, 16, 16)


def test_another_tokenizer_is_refused(tiny: LanguageModel, tmp_path: Path) -> None:
    tiny.save(tmp_path)
    with pytest.raises(TokbenchError, match=r"does not go with the tokenizer: the codes are those of patch/kmeans-1024, and vqvae/tiny is"):
        ImageModel.load(tmp_path, tokenizer=tokbench.load("vqvae"))
    other = replace(tiny.identity, state_sha256="0" * 64)
    replace(tiny, vocabulary=replace(tiny.vocabulary, image_tokenizer=other)).save(tmp_path / "other")
    with pytest.raises(TokbenchError, match=r"is not at hand: .* state_sha256 is 0000000000000000\.\.\. there .*; give it with -t"):
        ImageModel.load(tmp_path / "other")
    unknown = replace(tiny.identity, name="os:system")
    replace(tiny, vocabulary=replace(tiny.vocabulary, image_tokenizer=unknown)).save(tmp_path / "unknown")
    with pytest.raises(TokbenchError, match="is not at hand: os:system is no tokenizer of the zoo; give it with -t"):
        ImageModel.load(tmp_path / "unknown")
    with pytest.raises(TokbenchError, match="precision is fp32 or bf16, got 'fp16'"):
        ImageModel.load(tmp_path, precision="fp16")


def test_a_grid_that_the_tokenizer_does_not_make(tiny: LanguageModel, patch_tokenizer: Tokenizer, tmp_path: Path) -> None:
    replace(tiny, grid=(2, 2)).save(tmp_path)
    with pytest.raises(TokbenchError, match=r"files that do not fit together: patch/kmeans-1024 makes no images of grid \(2, 2\)"):
        ImageModel.load(tmp_path, tokenizer=patch_tokenizer)


def test_images_of_another_size_are_refused(painter: ImageModel) -> None:
    message = "images of 32x32 px are given, the model was trained on 16x16; resize them"
    for ask in (painter.complete, painter.describe, lambda images: painter.edit(images, ["red"])):
        with pytest.raises(TokbenchError, match=message):
            ask(pixels(1, side=32))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda one: one.generate("red"), r"one text is given where several are taken; write \['red'\]"),
        (lambda one: one.complete(pixels(1), texts="red"), "one text is given where several are taken"),
        (lambda one: one.edit(pixels(1), "make it red"), "one text is given where several are taken"),
        (lambda one: edit_in_turns(one, pixels(1), "make it red"), "instructions are a list of at least one text, got 'make it red'"),
        (lambda one: edit_in_turns(one, pixels(1), []), "instructions are a list of at least one text"),
        (lambda one: one.generate(["red"], count=0), "count must be at least 1, got 0"),
        (lambda one: one.generate(["red", 3]), "texts are of type str, got int"),
        (lambda one: one.generate(["red"], times=[0, 1]), "times are one a text, got 2 for 1"),
        (lambda one: one.complete(pixels(1), count=-1), "count must be at least 1, got -1"),
        (lambda one: one.describe(pixels(1)[0]), r"images are bytes of RGB, torch.uint8 \[B, 3, H, W\], got torch.uint8 \[3, 16, 16\]"),
        (lambda one: one.describe(pixels(1).float() / 255), r"got torch.float32 \[1, 3, 16, 16\]"),
        (lambda one: one.complete(pixels(1).numpy()), "got ndarray"),
        (lambda one: one.edit(pixels(1).expand(1, 3, 16, 16)[:, [0, 1, 2, 0]], ["red"]), r"got torch.uint8 \[1, 4, 16, 16\]"),
    ],
)  # fmt: skip
def test_what_is_of_another_kind_is_refused_in_python(painter: ImageModel, ask: Callable[[ImageModel], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ask(painter)


def test_counts_that_differ_are_refused(painter: ImageModel) -> None:
    with pytest.raises(TokbenchError, match="there is 1 text for 2 images; give one an image"):
        painter.edit(pixels(2), ["red"])
    with pytest.raises(TokbenchError, match="there are 2 texts for 1 image"):
        painter.edit(pixels(2), ["red", "red"], first=pixels(1))


def test_a_vocabulary_of_smaller_codebooks_is_refused_before_anything_is_drawn(
    tiny: LanguageModel, patch_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """The network may have more ids than the vocabulary, so that the sizes alone do not tell."""
    tiny.save(tmp_path / "model")
    values = json.loads((tmp_path / "model" / "vocabulary.json").read_text())
    (tmp_path / "model" / "vocabulary.json").write_text(json.dumps({**values, "codebook_sizes": [512]}))
    message = r"do not fit together: the vocabulary is of codebooks of \(512,\) codes, those of patch/kmeans-1024 have \(1024,\)"
    with pytest.raises(TokbenchError, match=message):
        ImageModel.load(tmp_path / "model", tokenizer=patch_tokenizer)


def test_codes_of_another_grid_are_refused(tiny: LanguageModel) -> None:
    image = DiscreteTokens(torch.zeros(1, 4, 1, dtype=torch.int64), (2, 2), (1024,))
    with pytest.raises(TokbenchError, match=r"an image has a grid of 2\*2, the model was trained on 4\*4"):
        request_of(tiny, "describe", images=[image])


def test_a_text_the_tokenizer_cannot_hold(tiny: LanguageModel, tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: number for number, word in enumerate([*"0123456789*", "red", "[UNK]"])}
    few = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    few.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"\d|\*|\w+"), "isolated")
    few.save(str(tmp_path / "words.json"))
    vocabulary = replace(tiny.vocabulary, text=tokbench.feed.FileText.open(tmp_path / "words.json"))
    check_text("red", vocabulary)
    check_text("", vocabulary)
    with pytest.raises(TokbenchError, match=r"text tokenizer cannot hold 'zebra', it makes '\[UNK\]' of it; use words that it knows"):
        check_text("zebra", vocabulary)
    with pytest.raises(TokbenchError, match="is no valid Unicode"):
        check_text("\ud800", tiny.vocabulary)
    check_text("Ünï  cödé ✓ \n", tiny.vocabulary)


def test_answers_of_the_wrong_kind(tiny: LanguageModel) -> None:
    request = request_of(tiny, "text", text="a")
    answer = sample(tiny, [request], longest_text=5)[0]
    with pytest.raises(ValueError, match="the answer is text, not an image"):
        image_of(tiny, request, answer)
    assert text_of(tiny, [32, 104, 105, 32, tiny.vocabulary.special.eos]) == "hi"
