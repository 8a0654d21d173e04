"""Evaluation on one's own images: two halves that share no group, bits and distances that are known, and one line for every mistake."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tokbench.errors import TokbenchError
from tokbench.feed import ExportOptions
from tokbench.feed.export import export
from tokbench.lm.evaluate_images import ImageEvaluationOptions, evaluate_images, tasks_of
from tokbench.lm.evaluation import Evaluated
from tokbench.lm.held_out import halves, hold_out
from tokbench.lm.image_bits import description_bits
from tokbench.lm.image_model import ImageModel
from tokbench.lm.model import LanguageModel
from tokbench.lm.options import SamplingOptions
from tokbench.lm.real_images import open_real
from tokbench.records.examples import read_examples
from tokbench.records.lm_record import lm_record_from_dict
from tokbench.records.lm_store import find_lm_records, write_lm_record
from tokbench.records.protocol import get_protocol
from tokbench.records.store import read_rows
from tokbench.report.lm import lm_tables
from tokbench.tokenizers.base import Tokenizer
from tokbench.weights.training import DIGITS, TrainingSet

transformers = pytest.importorskip("transformers")

Cli = Callable[..., tuple[int, str, str]]

COUNT = 14


def paint(folder: Path, *, count: int = COUNT, side: int = 32) -> None:
    for number in range(count):
        place = folder / ("cat", "big_dog")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(256, size=(side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number:02d}.png")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    paint(folder / "pets")
    (folder / "judge_of_red.py").write_text("def red(words, pixels):\n    return float(pixels[..., 0].mean() + len(words))\n")
    return folder


@pytest.fixture(scope="module")
def evaluated(place: Path, artist: ImageModel, patch_tokenizer: Tokenizer) -> Evaluated:
    options = ImageEvaluationOptions(
        str(place / "pets"),
        labels="folder",
        captions=("a {class}",),
        prompts=6,
        sampling=SamplingOptions(batch_size=6),
        training=str(place / "pets"),
        training_images=5,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))
        return evaluate_images(artist, Path("tiny"), replace(options, reward="judge_of_red:red"))


def test_no_group_is_in_both_halves_and_few_prompts_begin_many(place: Path, artist: ImageModel) -> None:
    groups = {index: f"photo {index % 7}" for index in range(40)}
    one, other = halves(groups, seed=3)
    assert sorted([*one, *other]) == list(range(40))
    assert abs(len(one) - len(other)) <= 6
    assert not {groups[index] for index in one} & {groups[index] for index in other}
    assert halves(groups, seed=3) == (one, other)
    assert halves(groups, seed=4) != (one, other)
    real = open_real(str(place / "pets"), artist.model, labels="folder")
    few, many = (hold_out(real, prompts, seed=0) for prompts in (3, None))
    assert (len(few.ids), len(many.ids)) == (3, COUNT // 2)
    assert many.ids[:3] == few.ids
    assert few.sha256 != many.sha256
    assert not {image.numpy().tobytes() for image in many.images} & {image.numpy().tobytes() for image in many.reference}
    assert {name.split("/")[0] for name in many.ids} == set(many.words)


def test_a_record_of_ones_own_images_says_what_they_were(evaluated: Evaluated, tmp_path: Path) -> None:
    record, rows = evaluated.record, evaluated.rows
    protocol = record.protocol
    assert (protocol.data, protocol.split, protocol.prompts, protocol.reference) == ("pets", "given", 6, 6)
    assert (protocol.captions, protocol.reward, protocol.training_scenes) == (("a {class}",), "judge_of_red:red", 5)
    assert protocol.tasks == ("generate", "describe", "complete")
    assert not any(key.startswith(("prompt_", "edit_", "chance_")) for key in record.figures)
    for key, column in rows.items():
        figure = record.figures[key]
        assert figure.value == pytest.approx(np.mean(list(column.values())))
        assert figure.interval is not None
        assert len(column) == 6
    assert record.figures["reward"].unit == "reward"
    assert record.figures["original_reward"].value == pytest.approx(record.figures["ceiling_reward"].value, abs=40)
    assert record.figures["fd_efflite0"].reason == "a Fréchet distance needs at least 128 images"
    assert record.figures["kd_efflite0"].value > record.figures["kd_efflite0_floor"].value
    assert min(rows["nearest_training_floor"].values()) == pytest.approx(0, abs=1e-6)  # some are of those
    path = write_lm_record(record, rows, tmp_path)
    assert path.name == "tiny_pets-given_N=6_seed=0.json"
    assert find_lm_records([tmp_path]) == [(path, record)]
    assert read_rows(path) == rows


def test_a_record_says_whether_the_tokenizer_was_trained_on_these_images(
    place: Path, artist: ImageModel, evaluated: Evaluated, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ImageEvaluationOptions(str(place / "pets"), labels="folder", prompts=2, tasks=("describe",))
    for used, expected in (((), False), (("data:pets",), True), (("unknown",), None)):
        monkeypatch.setattr(artist.tokenizer, "trained_with", used)
        assert evaluate_images(artist, Path("tiny"), options).record.trained_on is expected
    real = open_real(str(place / "pets"), artist.model, labels="folder")
    seen = TrainingSet("elsewhere", 1, "0" * 64, (hold_out(real, 2, seed=0).digests[-1].hex()[:DIGITS],))
    monkeypatch.setattr(artist.tokenizer, "trained_with", ("data:elsewhere",))
    monkeypatch.setattr(artist.tokenizer, "training_sets", (seen,))
    assert evaluate_images(artist, Path("tiny"), options).record.trained_on is True


def test_records_of_scenes_are_what_they_were(evaluated: Evaluated) -> None:
    values = json.loads(evaluated.record.to_json())
    scenes = replace(evaluated.record.protocol, data="scenes", split="test", data_sha256=None, captions=(), reward=None)
    written = json.loads(replace(evaluated.record, protocol=scenes).to_json())
    assert set(values["protocol"]) - set(written["protocol"]) == {"data_sha256", "captions", "reward"}
    assert lm_record_from_dict(written, origin="it").protocol == scenes
    assert written["schema"] == 1


def test_equal_words_have_images_of_their_own(evaluated: Evaluated, artist: ImageModel) -> None:
    assert evaluated.images is not None
    assert len({image.numpy().tobytes() for image in evaluated.images}) == 6
    twice = artist.generate(["a cat", "a cat", "a dog"], times=[0, 1, 0])
    both = artist.generate(["a cat"], count=2)
    assert torch.equal(twice[:2], both)


def test_bits_of_words_are_those_of_a_slow_computation(artist: ImageModel, place: Path) -> None:
    held = hold_out(open_real(str(place / "pets"), artist.model, labels="folder"), 4, seed=0)
    codes, vocabulary = artist.encode(held.images), artist.model.vocabulary
    found = description_bits(artist, codes, held.words)
    from tokbench.lm.tasks import example_of

    for number, text in enumerate(held.words):
        example = example_of("describe", vocabulary, text=text, images=[codes[number]])
        ids = torch.tensor([example.input_ids])
        with torch.no_grad():
            logits = artist.model.network(ids).logits[0].double()
        allowed = [*range(vocabulary.text.size), vocabulary.special.eos]
        slow = 0.0
        for at in range(example.prompt_length, ids.shape[1]):
            slow -= float(logits[at - 1, allowed].log_softmax(dim=0)[allowed.index(int(ids[0, at]))]) / math.log(2)
        assert found[number] == pytest.approx(slow, rel=1e-5)


def test_photos_of_one_group_stay_together(artist: ImageModel, tmp_path: Path) -> None:
    options = ImageEvaluationOptions("photos/test", prompts=40, tasks=("describe",))
    done = evaluate_images(artist, tmp_path / "tiny", options)
    assert (done.record.protocol.data, done.record.protocol.split) == ("photos", "test")
    assert done.record.protocol.captions[0] == "a photo of {class}"
    assert set(done.record.figures) == {"description_bits", "other_description_bits"}
    groups = done.rows["group"]
    photos = {name.split("/")[0] for name in groups}
    assert 1 < len(photos) == len(set(groups.values())) < 40
    interval = done.record.figures["description_bits"].interval
    assert interval is not None
    assert interval.method.startswith(f"bootstrap of {len(photos)} groups")
    again = {**done.rows, "description_bits": {name: value + 1 for name, value in done.rows["description_bits"].items()}}
    table = lm_tables([done.record, done.record], [done.rows, again])[-1]
    assert [cell.text for _, cells in table.rows for cell in cells] == ["1.0 [1.0, 1.0]"]


def test_tables_show_what_was_measured(evaluated: Evaluated) -> None:
    other = replace(evaluated.record, protocol=replace(evaluated.record.protocol, data_sha256="0" * 64))
    tables = lm_tables([evaluated.record, other], [evaluated.rows, evaluated.rows])
    titles = [table.title.partition(":")[0] for table in tables]
    assert titles == ["drawing from words, judged", "reading", "samples beside real images"] * 2  # two sets of images are not compared
    assert [column.key for column in tables[1].columns] == [
        *("description_bits", "other_description_bits", "image_bits", "wordless_image_bits", "completion_bits")
    ]


def test_without_training_images_there_is_a_reason(evaluated: Evaluated, place: Path, artist: ImageModel, tmp_path: Path) -> None:
    options = ImageEvaluationOptions(str(place / "pets"), labels="folder", prompts=2, tasks=("generate",))
    done = evaluate_images(artist, tmp_path / "tiny", options)
    assert done.record.figures["nearest_training"].reason == (
        "the images the model learned from are not at hand; name them with --training"
    )
    assert done.record.protocol.training_scenes == 0
    assert "kd_efflite0" in done.record.figures


def stages(*shares: dict[str, float]) -> dict[str, Any]:
    return {"stages": [{"stage": "pretrain", "recipe": {"tasks": one}} for one in shares]}


def test_tasks_are_those_that_were_learned(artist: ImageModel) -> None:
    def model(recipe: dict[str, Any]) -> LanguageModel:
        return replace(artist.model, recipe=recipe)

    assert tasks_of(artist.model, None) == ("generate", "describe", "complete")
    drawing = model(stages({"generate": 1.0, "describe": 0.0, "complete": 0.0}))
    assert tasks_of(drawing, None) == ("generate",)
    assert tasks_of(model(stages({"describe": 1.0}, {"complete": 0.5})), None) == ("describe", "complete")
    with pytest.raises(TokbenchError, match=r"has not learned to describe, no stage of it has a share of that task; give other tasks"):
        tasks_of(drawing, ["generate", "describe"])
    with pytest.raises(TokbenchError, match="has learned none of generate, describe, complete"):
        tasks_of(model(stages({"edit": 1.0})), None)


def test_an_export_gives_the_words_and_its_images_are_found(
    place: Path, artist: ImageModel, patch_tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tokbench.data.open import open_source

    for name, side in (("tokens", 32), ("small", 16)):
        protocol = get_protocol(changes={"size": side})
        export(
            patch_tokenizer,
            open_source(str(place / "pets"), size=side),
            tmp_path / name,
            protocol=protocol,
            options=ExportOptions(labels="folder"),
        )
    with pytest.raises(TokbenchError, match=r"the images of .*tokens are not at hand: .*; run where they lie, or give them themselves"):
        open_real(str(tmp_path / "tokens"), artist.model)
    monkeypatch.chdir(place)
    exported = hold_out(open_real(str(tmp_path / "tokens"), artist.model), None, seed=0)
    assert exported.sha256 == hold_out(open_real("pets", artist.model, labels="folder"), None, seed=0).sha256
    with pytest.raises(TokbenchError, match=r"holds images of 16 px, the model was trained on 32 px"):
        open_real(str(tmp_path / "small"), artist.model)
    identity = replace(artist.model.identity, name="vqgan/tiny")
    other = replace(artist.model, vocabulary=replace(artist.model.vocabulary, image_tokenizer=identity))
    with pytest.raises(TokbenchError, match=r"holds codes of patch/kmeans-1024, the model reads those of vqgan/tiny"):
        open_real(str(tmp_path / "tokens"), other)
    with pytest.raises(TokbenchError, match="has words of its own; leave --captions out"):
        open_real(str(tmp_path / "tokens"), artist.model, captions=["a {class}"])
    with pytest.raises(TokbenchError, match="is encoded already, with its own size and labels; leave out --labels and --resize"):
        open_real(str(tmp_path / "tokens"), artist.model, resize=True)


def test_images_of_another_size_are_refused_or_cut(artist: ImageModel, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paint(tmp_path / "large", side=40)
    (tmp_path / "large" / "cat" / "aa.png").write_bytes(b"broken")
    with pytest.raises(
        TokbenchError, match=r"\.png of large is 40x40 px, the model was trained on 32x32; scale the images, or take their centre"
    ):
        hold_out(open_real(str(tmp_path / "large"), artist.model, labels="folder"), None, seed=0)
    held = hold_out(open_real(str(tmp_path / "large"), artist.model, labels="folder", resize=True), None, seed=0)
    assert held.images.shape == (7, 3, 32, 32)
    assert "cat/aa.png" not in held.ids


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("pets",), "pets has no words to ask for, neither captions nor classes; give --labels folder where folders name classes"),
        (("pets", "--labels", "folder", "--prompts", 8), "--prompts 8 are more than the 7 images of pets that can be asked for beside as"),
        (("few", "--labels", "folder"), "few has too few images with words: 1 in the smaller of two sets"),
        (("pets", "--labels", "folder", "--task", "edit"), "edits are evaluated on scenes alone; leave --data out"),
        (("pets", "--labels", "folder", "--task", "paint"), "unknown task 'paint'; allowed: complete, describe, generate"),
        (("pets", "--captions", "a {class}"), "pets has no classes whose names could stand in captions"),
        (("pets", "--split", "test"), "--split chooses scenes, and --data pets is all that is asked for; leave one of them out"),
        (("scenes/test",), "--data scenes/test: scenes are chosen by --split and --prompts; leave --data out"),
        (("scenes", "--resize"), "--resize is for images that are not scenes; name them with --data, or leave it out"),
        (("pets", "--labels", "folder", "--reward", "nowhere:red"), "nowhere"),
        (
            ("pets", "--labels", "folder", "--task", "describe", "--reward", "judge_of_red:red"),
            "--reward is for images that are drawn; ask for",
        ),
        (("pets", "--labels", "folder", "--training", "missing"), "--data missing does not exist"),
    ],
    ids=lambda value: " ".join(map(str, value))[:40] if isinstance(value, tuple) else "",
)
def test_mistakes_are_one_line(tokbench_cli: Cli, artist: ImageModel, tmp_path: Path, words: tuple[object, ...], message: str) -> None:
    artist.model.save(tmp_path / "small")
    paint(tmp_path / "pets")
    paint(tmp_path / "few", count=3)
    status, out, log = tokbench_cli("lm", "evaluate", "small", "--data", *words, "--out", "records")
    assert (status, out) == (2, "")
    assert message in log
    assert len(log.splitlines()) == 1
    assert not (tmp_path / "records").exists()


def test_the_command_writes_a_record_that_compare_shows(tokbench_cli: Cli, artist: ImageModel, tmp_path: Path) -> None:
    artist.model.save(tmp_path / "small")
    paint(tmp_path / "pets")
    options = ("--labels", "folder", "--captions", "a {class}", "--captions", "one {class}", "--prompts", 2, "--out", "records")
    status, out, log = tokbench_cli("lm", "evaluate", "small", "--data", "pets", *options)
    assert status == 0, log
    assert "samples beside real images: pets-given, N=2, seed=0 at 32 px" in out
    assert (tmp_path / "records" / "small_pets-given_N=2_seed=0" / "drawn.png").is_file()
    examples = read_examples(tmp_path / "records" / "small_pets-given_N=2_seed=0.json")
    assert [one.task for one in examples] == ["generate"] * 2 + ["complete"] * 2 + ["describe"] * 2
    assert {one.words for one in examples[:2]} <= {f"{number} {pet}" for number in ("a", "one") for pet in ("cat", "big dog")}
    for one in examples[:4]:
        with Image.open(tmp_path / "pets" / one.id) as picture:
            assert np.array_equal(np.asarray(picture), one.right)
    status, out, _ = tokbench_cli("compare", "records", "--format", "md")
    assert status == 0
    assert re.search(r"\| small \| *[\d.]+", out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": 1}, "prompts are at least 2"),
        ({"training_images": 0}, "training images at least 1"),
        ({"seed": -1}, "the seed 0 to"),
        ({"tasks": ()}, "tasks are some of generate, describe, complete, each once; got none"),
        ({"tasks": ("generate", "generate")}, "each once; got generate, generate"),
    ],
)
def test_options_that_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TokbenchError, match=message):
        ImageEvaluationOptions("pets", **change)
