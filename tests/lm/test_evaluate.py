"""Evaluation: answers that are known to be right or wrong, bits against a slow computation, and a record that says all of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tokbench.data.scenes.edits import EDIT_KINDS
from tokbench.errors import TokbenchError
from tokbench.feed import ByteText
from tokbench.lm.asking import request_of
from tokbench.lm.evaluate import EvaluationOptions, evaluate
from tokbench.lm.image_model import ImageModel
from tokbench.lm.likelihood import Known, answer_bits
from tokbench.lm.model import LanguageModel
from tokbench.lm.options import SamplingOptions
from tokbench.lm.sampling import sample
from tokbench.lm.scene_tasks import (
    bits_of_images,
    change_is_right,
    drawn,
    prompts_of,
    readings,
    score_descriptions,
    score_drawing,
    score_edits,
    through_tokenizer,
)
from tokbench.lm.set_distances import frechet, kernel, nearest
from tokbench.records.examples import read_examples, write_examples
from tokbench.records.lm_record import lm_record_from_dict
from tokbench.records.lm_store import find_every_record, find_lm_records, write_lm_record
from tokbench.records.read import read
from tokbench.records.store import read_rows
from tokbench.report.lm import lm_tables
from tokbench.tokenizers.base import Tokenizer

transformers = pytest.importorskip("transformers")

Cli = Callable[..., tuple[int, str, str]]

FEW = EvaluationOptions(prompts=6, training_scenes=4, sampling=SamplingOptions(batch_size=6))


@pytest.fixture(scope="module")
def evaluated(artist: ImageModel):
    return evaluate(artist, "tiny", FEW)


def test_prompts_are_the_same_for_every_model_and_other_for_every_seed() -> None:
    one, again, other = (prompts_of(5, "test", size=32, seed=seed) for seed in (3, 3, 4))
    assert one == again
    assert not set(one.words) & set(other.words)
    assert prompts_of(3, "test", size=32, seed=3).words == one.words[:3]


def test_right_scenes_are_right_and_others_are_not(artist: ImageModel) -> None:
    prompts = replace(prompts_of(8, "test", size=32, seed=0), size=32)
    values = score_drawing(prompts, drawn(prompts.scenes, 32), artist)
    assert values["prompt_attributes"] == values["original_attributes"]
    assert np.mean(values["original_attributes"]) > 0.9
    assert np.mean(values["chance_attributes"]) < 0.6
    assert values["prompt_number"] == [1.0] * 8 or np.mean(values["prompt_number"]) > 0.8
    best = score_drawing(prompts, through_tokenizer(artist, drawn(prompts.scenes, 32)), artist)
    assert best["prompt_attributes"] == best["ceiling_attributes"]
    asks = [math.isnan(value) for value in values["prompt_relation"]]
    assert any(asks)
    assert not all(asks)


@pytest.mark.parametrize("kind", EDIT_KINDS)
def test_a_change_is_right_where_it_was_made_and_wrong_where_it_was_not(kind: str) -> None:
    from tokbench.data.scenes.edits import edit_of

    edits = [edit_of(seed, "test", kinds=[kind], grounds=["plain"]) for seed in range(6)]  # type: ignore[list-item]
    after = [change_is_right(*pair) for pair in zip(edits, readings(drawn([edit.after for edit in edits], 64)), strict=True)]
    before = [change_is_right(*pair) for pair in zip(edits, readings(drawn([edit.before for edit in edits], 64)), strict=True)]
    assert sum(after) >= 5
    assert not any(before)


def test_edits_are_scored_beside_their_ceiling(artist: ImageModel) -> None:
    prompts = prompts_of(6, "test", size=32, seed=0)
    after = through_tokenizer(artist, drawn([edit.after for edit in prompts.edits], 32))
    values = score_edits(prompts, after, artist)
    assert values["edit_change"] == values["ceiling_edit_change"]
    assert values["edit_psnr"] == values["tokenizer_psnr"]
    black = score_edits(prompts, torch.zeros_like(after), artist)
    assert not any(black["edit_change"])
    assert max(black["edit_psnr"]) < min(values["edit_psnr"])
    exact = score_edits(prompts, drawn([edit.after for edit in prompts.edits], 32), artist)
    assert min(exact["edit_psnr"]) > 60


def test_descriptions_are_scored_by_what_they_say() -> None:
    prompts = prompts_of(12, "test", size=32, seed=0)
    assert score_descriptions(prompts, prompts.words)["description_all_right"] == [1.0] * 12
    wrong = score_descriptions(prompts, [*prompts.words[1:], prompts.words[0]])
    assert np.mean(wrong["description_attributes"]) < 0.7
    for text in ("", "nothing at all", "a circle" * 3000, "red circle, blue circle, a square, a cross, a triangle"):
        assert score_descriptions(prompts, [text] * 12)["description_attributes"] == [0.0] * 12


def test_bits_are_those_of_a_slow_computation(artist: ImageModel) -> None:
    model, special = artist.model, artist.model.vocabulary.special
    asked = [request_of(model, "generate", text=text) for text in ("red", "a blue square", "red")]
    answers = sample(model, [replace(one, seed=seed) for seed, one in enumerate(asked)])
    found = answer_bits(model, [Known(one.ids, answer) for one, answer in zip(asked, answers, strict=True)])
    for request, answer, bits in zip(asked, answers, found, strict=True):
        ids = torch.tensor([[*request.ids, *answer]])
        with torch.no_grad():
            logits = model.network(ids).logits[0].double()
        first = model.vocabulary.offsets[0]
        slow = 0.0
        for place in range(len(request.ids), ids.shape[1]):
            code = int(ids[0, place]) - first
            if code >= 0:
                slow -= float(logits[place - 1, first : first + 1024].log_softmax(dim=0)[code]) / math.log(2)
        assert bits == pytest.approx(slow, rel=1e-5)
    assert special.eos == answers[0][-1]


def test_a_model_that_knows_nothing_takes_the_uniform_bits(artist: ImageModel) -> None:
    model = artist.model
    network = transformers.LlamaForCausalLM(model.network.config).eval()
    with torch.no_grad():
        network.lm_head.weight.zero_()
    values = bits_of_images(prompts_of(3, "test", size=32, seed=0), ImageModel(replace(model, network=network), artist.tokenizer))
    assert values["image_bits"] == pytest.approx([64 * 10.0] * 3)
    assert values["completion_bits"] == pytest.approx([32 * 10.0] * 3)


def test_distances_tell_sets_apart() -> None:
    rng = np.random.default_rng(0)
    one, other, apart = rng.normal(size=(150, 8)), rng.normal(size=(150, 8)), rng.normal(loc=1, size=(150, 8))
    for distance in (kernel, frechet):
        near, far = distance(one, other), distance(apart, other)
        assert near.value is not None
        assert far.value is not None
        assert far.interval is not None
        assert near.value < far.interval.low < far.value < far.interval.high
    assert frechet(one[:100], other).value is None
    assert nearest(one, np.concatenate([other, one * 3])) == pytest.approx([0] * 150, abs=1e-12)
    assert min(nearest(one, other)) > 0


def test_the_record_holds_means_and_intervals_over_prompts(evaluated, tmp_path: Path) -> None:
    record, rows = evaluated.record, evaluated.rows
    for key, column in rows.items():
        figure = record.figures[key]
        assert figure.value == pytest.approx(np.mean(list(column.values())))
        assert len(column) == 6 or key in ("prompt_relation", "prompt_place", "prompt_ground")
        if len(column) > 1:
            assert figure.interval is not None
            assert figure.interval.low <= figure.value <= figure.interval.high
    assert record.figures["fd_efflite0"].reason == "a Fréchet distance needs at least 128 images"
    assert {"kd_efflite0", "kd_efflite0_floor", "nearest_training", "image_bits", "edit_change"} <= set(record.figures)
    assert record.model.recipe == {"stages": ["none"]}
    assert record.timing.seconds_per_image is not None
    path = write_lm_record(record, rows, tmp_path)
    assert path.name == "tiny_scenes-test_N=6_seed=0.json"
    assert read(path) == record
    assert {key: column for key, column in read_rows(path).items() if column} == {key: column for key, column in rows.items() if column}
    assert find_lm_records([tmp_path]) == [(path, record)]
    assert find_every_record([tmp_path]) == ([], [], [(path, record)])


def test_figures_depend_on_no_batch(artist: ImageModel, evaluated) -> None:
    again = evaluate(artist, "tiny", replace(FEW, tasks=("generate", "edit"), sampling=SamplingOptions(batch_size=4)))
    assert torch.equal(again.images, evaluated.images)
    assert torch.equal(again.edits[1], evaluated.edits[1])
    assert "image_bits" not in again.rows
    assert all(again.rows[key] == evaluated.rows[key] for key in again.rows)


def test_examples_are_what_was_asked_and_what_came(artist: ImageModel, evaluated, tmp_path: Path) -> None:
    prompts = prompts_of(6, "test", size=32, seed=0)
    by_task = {task: [one for one in evaluated.examples if one.task == task] for task in ("generate", "edit", "complete", "describe")}
    assert [len(found) for found in by_task.values()] == [6] * 4
    scenes = drawn(prompts.scenes, 32).permute(0, 2, 3, 1).numpy()
    for number, (one, edit) in enumerate(zip(by_task["generate"], by_task["edit"], strict=True)):
        assert (one.id, one.words) == (f"test-{number}", prompts.words[number])
        assert np.array_equal(one.right, scenes[number])
        assert np.array_equal(one.answer, evaluated.images[number].permute(1, 2, 0))
        assert edit.words == prompts.instructions[number]
        assert len(edit.shown) == len(prompts.edits[number].shown)
        assert np.array_equal(edit.shown[-1], evaluated.edits[0][number].permute(1, 2, 0))
        assert np.array_equal(edit.answer, evaluated.edits[1][number].permute(1, 2, 0))
    kept = through_tokenizer(artist, drawn(prompts.scenes, 32))[:, :, :16].permute(0, 2, 3, 1).numpy()
    assert all(np.array_equal(one.answer[:16], upper) for one, upper in zip(by_task["complete"], kept, strict=True))
    assert [one.text for one in by_task["describe"]] == artist.describe(drawn(prompts.scenes, 32))
    write_examples(evaluated.examples, tmp_path / "it")
    again = read_examples(tmp_path / "it.json")
    assert [(one.task, one.id, one.words, one.text) for one in again] == [(o.task, o.id, o.words, o.text) for o in evaluated.examples]
    for one, other in zip(again, evaluated.examples, strict=True):
        pairs = [*zip(one.shown, other.shown, strict=True), (one.right, other.right), (one.answer, other.answer)]
        assert all(a is b is None or np.array_equal(a, b) for a, b in pairs)


def test_tables_show_every_part(evaluated) -> None:
    record = evaluated.record
    tables = lm_tables([record, replace(record, model=replace(record.model, state_sha256="f" * 64))])
    assert [table.title.partition(":")[0] for table in tables] == [
        "drawing from words",
        "drawing from words, part by part",
        "editing",
        "reading",
        "samples beside fresh scenes",
    ]
    assert all(len(table.rows) == 2 and len(cells) == len(table.columns) for table in tables for _, cells in table.rows)
    assert tables[0].rows[1][0] == "tiny ffffffff"
    assert "FD-EffLite0, floor: a Fréchet distance needs at least 128 images" in tables[-1].notes
    only = lm_tables([replace(record, figures={"image_bits": record.figures["image_bits"]})])
    assert [table.title.partition(":")[0] for table in only] == ["reading"]


def test_differences_are_paired_over_prompts(evaluated) -> None:
    record, rows = evaluated.record, evaluated.rows
    better = {key: {name: value + 0.25 for name, value in column.items()} for key, column in rows.items()}
    better["edit_change"] = {}
    table = lm_tables([record, record, record], [rows, better, {}])[-1]
    assert table.title == "differences, paired over prompts: scenes-test, N=6, seed=0 at 32 px"
    first, second = (cells for _, cells in table.rows)
    assert first[0].text == "25.0 [25.0, 25.0]"
    assert first[2].text == "-"
    assert {cell.text for cell in second} == {"-"}
    assert not any("differences" in table.title for table in lm_tables([record, record]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "run"}, "is not the record of a language model; tokbench lm evaluate writes them"),
        ({"schema": 2}, "has schema 2, this tokbench reads up to 1; install a newer one"),
        ({"figures": None}, "is not the record of a language model: figures is null, not an object"),
        ({"protocol": {}}, "is not the record of a language model: it has no protocol.data"),
    ],
)
def test_damaged_records_are_refused(evaluated, change: dict, message: str) -> None:
    values = json.loads(evaluated.record.to_json()) | change
    with pytest.raises(TokbenchError, match=message):
        lm_record_from_dict(values, origin="it")


def test_what_cannot_be_asked_is_said_before_anything_is_drawn(
    artist: ImageModel, tiny: LanguageModel, patch_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageModel, "_drawn", None)  # would fail
    small = ImageModel(tiny, patch_tokenizer)
    with pytest.raises(
        TokbenchError, match=r"scenes come in sizes 32, 64, 128, 256 px, and the model reads images of 16 px; give it others"
    ):
        evaluate(small, "small", EvaluationOptions(prompts=2))
    instructions = prompts_of(4, "test", size=32, seed=0).instructions
    monkeypatch.setattr(ByteText, "encode", lambda text, words: [0] if words in instructions else list(words.encode()))
    with pytest.raises(TokbenchError, match="text tokenizer cannot hold"):
        evaluate(artist, "deaf", EvaluationOptions(prompts=4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "testing"}, "unknown split of scenes 'testing'; did you mean test"),
        ({"tasks": ("paint",)}, "unknown task 'paint'; allowed: complete, describe, edit, generate"),
        ({"tasks": ()}, "tasks are some of generate, edit, describe, complete, each once; got none"),
        ({"prompts": 1}, "prompts are at least 2"),
        ({"seed": -1}, "the seed 0 to"),
    ],
)
def test_options_that_are_refused(change: dict, message: str) -> None:
    with pytest.raises(TokbenchError, match=message):
        replace(FEW, **change)


def test_the_command_writes_a_record_that_compare_shows(tokbench_cli: Cli, artist: ImageModel, tmp_path: Path) -> None:
    artist.model.save(tmp_path / "small")
    few = ("--prompts", 3, "--training-scenes", 2, "--task", "generate", "--task", "describe", "--out", "out")
    status, out, log = tokbench_cli("lm", "evaluate", "small", *few)
    assert status == 0, log
    assert "drawing from words: scenes-test, N=3, seed=0 at 32 px" in out
    assert "wrote out/small_scenes-test_N=3_seed=0.json and pictures out/small_scenes-test_N=3_seed=0" in log
    beside = tmp_path / "out" / "small_scenes-test_N=3_seed=0"
    assert sorted(path.name for path in beside.iterdir()) == ["drawn.png", "examples.json", "scenes.png"]
    assert [one.task for one in read_examples(beside.with_suffix(".json"))] == ["generate"] * 3 + ["describe"] * 3
    status, out, _ = tokbench_cli("compare", "out", "--format", "md")
    assert status == 0
    assert "| small |" in out
    status, _, log = tokbench_cli("lm", "evaluate", "small", "--task", "paint")
    assert (status, log) == (2, "tokbench: unknown task 'paint'; allowed: complete, describe, edit, generate.\n")
    status, _, log = tokbench_cli("lm", "evaluate", "small", "--prompts", 1)
    assert status == 2
    assert "--prompts takes a whole number of at least 2, got '1'" in log
