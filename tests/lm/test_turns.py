"""Edits in turns: what is asked of a model, whichever words were left out, and what is refused before anything is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tokbench.data.scenes import Ground, Scene, Thing, draw
from tokbench.data.scenes.turns import Spoken
from tokbench.errors import TokbenchError
from tokbench.lm.image_model import ImageModel
from tokbench.lm.turns import edit_in_turns, knows_scenes, seen_in, spoken_of, turn_of

SCENES = {"stages": [{"name": "pretrain", "stage": "pretrain", "data": {"name": "scenes"}}]}
ONE = Scene((Thing("circle", "red", "small", "filled", 0.24, 0.24),), Ground("plain", ("grey",)))
TWO = Scene((*ONE.things, Thing("square", "blue", "large", "filled", 0.76, 0.76)), ONE.ground)


def picture(scene: Scene) -> torch.Tensor:
    return torch.from_numpy(draw(scene, 32)).permute(2, 0, 1)[None].contiguous()


@pytest.fixture(scope="module")
def of_scenes(artist: ImageModel) -> ImageModel:
    return ImageModel(replace(artist.model, recipe=SCENES), artist.tokenizer)


@pytest.fixture
def told(of_scenes: ImageModel, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the model is asked, turn by turn."""
    found: list[list[str]] = []
    edit = of_scenes.edit

    def noted(images: torch.Tensor, instructions: list[str], **options: Any) -> torch.Tensor:
        found.append(list(instructions))
        return edit(images, instructions, **options)

    monkeypatch.setattr(of_scenes, "edit", noted)
    return found


def test_it_knows_scenes_by_what_it_learned_from(artist: ImageModel, of_scenes: ImageModel) -> None:
    assert knows_scenes(of_scenes.model)
    assert knows_scenes(replace(artist.model, recipe={"stages": [None, {"data": {"name": "scenes/train"}}]}))
    for recipe in ({}, {"stages": []}, {"stages": "scenes"}, {"stages": [{"data": "scenes"}]}, {"stages": [{"data": {"name": "pets"}}]}):
        assert not knows_scenes(replace(artist.model, recipe=recipe))


def test_models_of_other_worlds_get_words_as_they_are(artist: ImageModel) -> None:
    def unseen() -> torch.Tensor:
        raise AssertionError

    assert turn_of(artist.model, "make its fur longer", [], unseen).instruction == "make its fur longer"
    assert spoken_of(artist.model, "a red circle") == ()


def test_what_is_seen_stands_in_for_what_was_not_said(of_scenes: ImageModel) -> None:
    assert seen_in(picture(ONE)[0]) == (Spoken("red", "circle"),)
    assert turn_of(of_scenes.model, "now larger", [], lambda: picture(ONE)[0]).instruction == "make the red circle larger"
    with pytest.raises(TokbenchError, match="does not say which thing: the red circle or the blue square"):
        turn_of(of_scenes.model, "now larger", [], lambda: picture(TWO)[0])
    with pytest.raises(TokbenchError, match="none is found in the picture"):
        turn_of(of_scenes.model, "now larger", [], lambda: torch.full((3, 32, 32), 130, dtype=torch.uint8))


def test_each_turn_is_of_what_came_of_the_one_before(of_scenes: ImageModel, told: list[list[str]]) -> None:
    done: list[tuple[int, int]] = []
    made = edit_in_turns(
        of_scenes, picture(TWO), ["make the circle green", "now larger"], count=3, progress=lambda *counts: done.append(counts)
    )
    assert told == [["make the circle green"], ["make the green circle larger"] * 3]
    assert made.shape == (2, 3, 3, 32, 32)
    assert done[-1] == (6, 6)
    first = of_scenes.edit(picture(TWO), ["make the circle green"], count=3)
    assert torch.equal(made[0], first)
    assert torch.equal(made[1], of_scenes.edit(first, ["make the green circle larger"] * 3))
    alone = edit_in_turns(of_scenes, picture(TWO), ["make the circle green", "now larger"])
    assert torch.equal(alone[:, 0], made[:, 0])


@pytest.mark.parametrize(
    ("instructions", "message"),
    [
        (["now larger"], "does not say which thing: the red circle or the blue square"),
        (["remove the red circle", "now pink"], "'pink' cannot be understood"),
        (["make the circle green", "now larger and smaller"], "asks for 2 changes"),
    ],
)
def test_nothing_is_drawn_for_what_is_not_clear(
    of_scenes: ImageModel, told: list[list[str]], instructions: list[str], message: str
) -> None:
    with pytest.raises(TokbenchError, match=message):
        edit_in_turns(of_scenes, picture(TWO), instructions)
    assert told == []


def test_the_command_shows_every_turn(tokbench_cli: Callable[..., tuple[int, str, str]], of_scenes: ImageModel, tmp_path: Path) -> None:
    of_scenes.model.save(tmp_path / "model")
    Image.fromarray(draw(TWO, 32)).save(tmp_path / "scene.png")
    command = ("lm", "edit", "scene.png", "make the circle green", "--model", "model", "--enlarge", "1")
    status, _, log = tokbench_cli(*command, "--then", "now larger", "--then", "to the top", "-n", 2, "-o", "turns.png")
    assert status == 0, log
    with Image.open(tmp_path / "turns.png") as sheet:
        pixels = np.asarray(sheet)
    assert pixels.shape == (4 + 2 * 36, 4 + 4 * 36, 3)
    for row in range(2):
        assert np.array_equal(pixels[4 + row * 36 : 36 + row * 36, 4:36], draw(TWO, 32))
    status, _, log = tokbench_cli(*command, "--then", "now pink", "-o", "none.png")
    assert (status, len(log.splitlines())) == (2, 1)
    assert "'now pink' names no thing, and 'pink' cannot be understood; say a colour (red, " in log
    assert not (tmp_path / "none.png").exists()
