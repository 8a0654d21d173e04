"""Scenes of the stages: the same at any time, with words that name them, edits that fit their images, and bad renderings in their share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tokbench.data.scenes.asked import asked_in
from tokbench.data.scenes.drawing import draw
from tokbench.data.scenes.edits import edit_of
from tokbench.data.scenes.images import SceneImages
from tokbench.data.scenes.random_scenes import scene_of
from tokbench.data.scenes.reader import read
from tokbench.data.scenes.score import score
from tokbench.data.scenes.words import captions
from tokbench.errors import TokbenchError
from tokbench.feed import TokenDataset
from tokbench.feed.export import export
from tokbench.lm.material import APART, gather
from tokbench.lm.model import LanguageModel
from tokbench.lm.recipes import adjusted, get_recipe
from tokbench.lm.reward import scene_reward
from tokbench.lm.scene_source import StageScenes, are_scenes
from tokbench.lm.stages import StageOptions
from tokbench.lm.training import FIRST_PROMPT, Inputs, run_stage
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.base import Tokenizer


def test_images_are_scenes_and_edits_of_their_numbers() -> None:
    source = StageScenes(5, edits=8, size=64, first=40)
    assert len(set(source.ids)) == len(source) == 5 + sum(len(edit_of(40 + number).shown) + 1 for number in range(8))
    for number in range(5):
        assert source.ids[number] == f"scene-{40 + number:09d}"
        assert np.array_equal(np.asarray(source.read(number)), draw(scene_of(40 + number), 64))
    for number in range(40, 48):
        edit = edit_of(number)
        for part, scene in enumerate((*edit.shown, edit.after)):
            index = source.ids.index(f"edit-{number:09d}-{part}")
            assert source.scene(index) == scene
            assert source.caption(index) in captions(scene)
    assert [source.raw_digest(index) for index in range(len(source))] == [
        StageScenes(5, edits=8, size=64, first=40).raw_digest(index) for index in range(len(source))
    ]


def test_edits_name_their_images(tmp_path: Path) -> None:
    source = StageScenes(1, edits=8, size=64, first=3)
    source.write_edits(tmp_path / "edits.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "edits.jsonl").read_text().splitlines()]
    assert len(lines) == 8
    for number, line in enumerate(lines, start=3):
        edit = edit_of(number)
        assert line["instruction"] in edit.instructions
        assert [source.scene(source.ids.index(name)) for name in line["images"]] == [*edit.shown, edit.after]


def test_bad_renderings_come_in_their_share_and_whole_edits_at_a_time() -> None:
    good, bad = StageScenes(60, edits=10, size=32), StageScenes(60, edits=10, size=32, low_quality=0.4)
    changed = [not np.array_equal(np.asarray(good.read(index)), np.asarray(bad.read(index))) for index in range(len(good))]
    assert sum(changed[:60]) / 60 == pytest.approx(0.4, abs=0.2)
    assert [good.raw_digest(index) != bad.raw_digest(index) for index in range(len(good))] == changed
    for number in range(10):
        parts = [changed[index] for index, name in enumerate(good.ids) if name.startswith(f"edit-{number:09d}")]
        assert len(set(parts)) == 1


def test_the_reward_of_scenes_is_what_is_read_right() -> None:
    scene, other = scene_of(0), scene_of(1)
    for words in captions(scene):
        assert scene_reward(words, draw(scene, 64)) == 1.0
        pixels = draw(other, 64)
        assert scene_reward(words, pixels) == score(asked_in(words), read(pixels)).reward < 1


@pytest.mark.parametrize(
    ("name", "first", "ours"),
    [
        ("scenes", StageScenes(1, size=32).ids[0], True),
        ("scenes", StageScenes(0, edits=1, size=32).ids[0], True),
        ("scenes", StageScenes(1, size=32, first=100 * APART).ids[0], True),  # of seed 100, whose numbers have ten digits
        ("scenes", StageScenes(0, edits=1, size=32, first=FIRST_PROMPT + 50 * APART).ids[0], True),
        ("scenes/train:50", SceneImages("train", 32, 50).ids[0], True),
        (SceneImages("test", 32).name, "00000007", True),
        (SceneImages("held-out", 32).name, "00000007#1", False),  # a view: mirrored words would be wrong
        ("scenes", "beach.jpg", False),  # of a folder of that name
        ("photos", "00000007", False),
    ],
)
def test_drawn_scenes_are_known_by_names_and_ids(name: str, first: str, ours: bool) -> None:
    assert are_scenes(name, first) == ours


def test_exported_scenes_are_judged_by_their_reader(patch_tokenizer: Tokenizer, tmp_path: Path) -> None:
    protocol = get_protocol(changes={"size": 32})
    export(patch_tokenizer, "scenes/train:12", tmp_path / "tokens", protocol=protocol)
    small = {"network.layers": 1, "network.hidden_size": 16, "network.heads": 2, "network.intermediate_size": 16, "warmup": 1}
    alone = {"tasks.edit": 0, "tasks.complete": 0}
    run_stage(
        adjusted(get_recipe("pretrain"), {**small, **alone}, steps=1, batch_size=2),
        Inputs(str(tmp_path / "tokens")),
        StageOptions(tmp_path / "pretrain"),
    )
    quality = adjusted(get_recipe("quality"), {**alone, "keep.score": 0.1, "keep.psnr": 5.0, "warmup": 1}, steps=1, batch_size=2)
    run_stage(quality, Inputs(str(tmp_path / "tokens"), str(tmp_path / "pretrain")), StageOptions(tmp_path / "quality"))
    assert 0 < LanguageModel.load(tmp_path / "quality").recipe["stages"][-1]["measured"]["mean_score"] <= 1


def test_a_folder_called_scenes_is_not_judged_by_their_reader(
    patch_tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        (tmp_path / "scenes" / "beach").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (60 * number, 0, 0)).save(tmp_path / "scenes" / "beach" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    small = {"network.layers": 1, "network.hidden_size": 16, "network.heads": 2, "network.intermediate_size": 16, "warmup": 1}
    recipe = adjusted(get_recipe("pretrain"), {**small, "tasks.edit": 0}, steps=1, batch_size=2)
    run_stage(recipe, Inputs("./scenes", tokenizer=patch_tokenizer, labels="folder", size=16), StageOptions(tmp_path / "one"))
    dpo = adjusted(get_recipe("dpo"), {"warmup": 1}, steps=1, batch_size=2)
    for inputs in (Inputs("./scenes", "one", labels="folder"), Inputs("one/tokens", "one")):
        with pytest.raises(TokbenchError, match=r"there is no reward for .*; give --reward module:function"):
            run_stage(dpo, inputs, StageOptions(tmp_path / "two"))


def test_scenes_are_encoded_into_the_run_and_learned_from(patch_tokenizer: Tokenizer, tmp_path: Path) -> None:
    small = {"network.layers": 1, "network.hidden_size": 16, "network.heads": 2, "network.intermediate_size": 16, "warmup": 1}
    recipe = adjusted(get_recipe("pretrain"), {**small, "images": 20, "edits": 6}, steps=2, batch_size=4)
    inputs = Inputs("scenes", tokenizer=patch_tokenizer, size=32)
    run_stage(recipe, inputs, StageOptions(tmp_path / "pretrain"))
    data = TokenDataset(tmp_path / "pretrain" / "tokens")
    assert data.job.captions
    assert LanguageModel.load(tmp_path / "pretrain").image_size == (32, 32)
    material = gather(
        str(tmp_path / "pretrain" / "tokens"),
        recipe,
        tmp_path,
        tokenizer=None,
        edits=tmp_path / "pretrain" / "edits.jsonl",
        labels="source",
        size=None,
        wait=lambda: None,
    )
    assert len(material.edits or ()) == 6
    loose = {"keep.score": 0.2, "keep.psnr": 5.0, "images": 20, "edits": 6, "warmup": 1}
    quality = adjusted(get_recipe("quality"), loose, steps=2, batch_size=4)
    again = Inputs("scenes", str(tmp_path / "pretrain"))  # encoded as the model reads them
    run_stage(quality, again, StageOptions(tmp_path / "quality"))
    measured = LanguageModel.load(tmp_path / "quality").recipe["stages"][-1]["measured"]
    assert measured["of"] == len(TokenDataset(tmp_path / "quality" / "tokens"))
    assert 0 < measured["mean_score"] < 1
    assert measured["mean_psnr"] > 5
    dpo = adjusted(get_recipe("dpo"), {"preferences.prompts": 4, "preferences.samples": 2, "warmup": 1}, steps=1, batch_size=2)
    with pytest.raises(TokbenchError, match=r"holds no pairs; draw more images"):  # the reader finds nothing in noise
        run_stage(dpo, Inputs("scenes", str(tmp_path / "quality")), StageOptions(tmp_path / "dpo"))
    assert json.loads((tmp_path / "dpo" / "measured.json").read_text())["prompts"] == 4
