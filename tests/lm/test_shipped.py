"""The model that comes with the package: small, whole, said where it is from, and good for what it was trained for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tokbench.cli import app
from tokbench.data.scenes import asked_in, draw, edit_of, read, scene_of, score, untouched
from tokbench.lm.image_model import ImageModel
from tokbench.lm.model import LanguageModel
from tokbench.lm.scene_tasks import change_is_right
from tokbench.lm.shipped import shipped_model
from tokbench.tokenizers.zoo import resolve
from tokbench.weights.obtain import weights_path

pytest.importorskip("transformers")

MOST_BYTES = 12_000_000
PROMPTS = (
    "a large red circle in the middle",
    "a small yellow square at the top left and a large blue cross at the bottom right",
    "a large white triangle to the left of a large orange square",
    "a small green circle at the top, on a plain grey ground",
)


@pytest.fixture(scope="module")
def shipped() -> ImageModel:
    return ImageModel.load(shipped_model())


def test_model_and_tokenizer_are_small() -> None:
    weights = weights_path(resolve("vqvae/scenes")[1])
    assert weights is not None
    files = [path for path in shipped_model().iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in (*files, weights)) < MOST_BYTES


def test_it_says_where_it_is_from(shipped: ImageModel) -> None:
    model = shipped.model
    assert model.identity.name == "vqvae/scenes"
    assert [stage["stage"] for stage in model.recipe["stages"]] == ["pretrain", "pretrain", "quality", "dpo", "dpo"]
    assert model.guidance > 1
    card = (shipped_model() / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n")
    for word in ("## What it does", "## What it was trained on", "## What it cannot do"):
        assert word in card
    weights = LanguageModel.load(shipped_model()).network.state_dict()
    assert all(torch.equal(value, value.half().float()) for value in weights.values())


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_it_draws_what_it_is_asked(count: int, shipped: ImageModel) -> None:
    drawn = shipped.generate(PROMPTS, count=count, seed=0)
    shares = []
    for place, image in enumerate(drawn):
        shares.append(score(asked_in(PROMPTS[place // count]), read(image.permute(1, 2, 0).contiguous().numpy())).share)

    assert sum(shares) / len(shares) > 0.8


def test_it_changes_what_it_is_told_and_keeps_the_rest(shipped: ImageModel) -> None:
    edits = [edit_of(number, "test", kinds=("recolour", "remove", "resize"), grounds=("plain",)) for number in range(8)]
    before, after = (
        torch.stack([torch.from_numpy(draw(scene, 64)).permute(2, 0, 1) for scene in scenes])
        for scenes in zip(*((edit.before, edit.after) for edit in edits), strict=True)
    )
    made = shipped.edit(before, [edit.instructions[number % len(edit.instructions)] for number, edit in enumerate(edits)], seed=0)
    right = [change_is_right(edit, read(image.permute(1, 2, 0).contiguous().numpy())) for edit, image in zip(edits, made, strict=True)]
    assert sum(right) >= 6
    still = torch.stack([torch.from_numpy(untouched(edit, 64)) for edit in edits])[:, None].expand_as(made)
    assert (made.float() - after.float())[still].square().mean() < 255**2 / 10**2.8  # 28 dB


def test_it_describes_what_it_is_shown(shipped: ImageModel) -> None:
    scenes = [scene_of(number, "test", things=1, grounds=("plain",)) for number in range(4)]
    images = torch.stack([torch.from_numpy(draw(scene, 64)).permute(2, 0, 1) for scene in scenes])
    words = shipped.describe(images)
    assert sum(scene.things[0].shape in told and scene.things[0].colour in told for scene, told in zip(scenes, words, strict=True)) >= 3


def test_commands_take_it_where_none_is_named(tmp_path: Path) -> None:
    output = tmp_path / "grid.png"
    done = CliRunner().invoke(app, ["lm", "generate", PROMPTS[0], "-n", "2", "-o", str(output)])
    assert done.exit_code == 0, done.output
    assert output.stat().st_size > 0
    assert json.loads((shipped_model() / "language_model.json").read_text())["image_size"] == [64, 64]
