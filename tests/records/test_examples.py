"""Examples beside a record: the same pixels again, and one line where a file is not what it should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tokbench.errors import TokbenchError
from tokbench.records.examples import Example, read_examples, write_examples
from tokbench.records.sheets import Sheet

RANDOM = np.random.default_rng(0)


def picture() -> np.ndarray:
    return RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    scene = picture()
    examples = [Example("generate", f"test-{n}", "a \u2028 \ud800 circle", right=scene, answer=picture()) for n in range(9)]
    write_examples([*examples, Example("describe", "test-0", shown=(scene,), text="a circle")], tmp_path / "it")
    return tmp_path / "it"


@pytest.mark.parametrize("count", [1, 7, 8, 9, 17])
@pytest.mark.parametrize("layout", [Sheet(), Sheet(3, 1, 0), Sheet(1, 3, 2)])
def test_sheets_are_cut_into_what_they_were_drawn_from(count: int, layout: Sheet) -> None:
    pictures = [picture() for _ in range(count)]
    sheet = layout.draw(pictures)
    assert all(np.array_equal(layout.cut(sheet, place, 5, 7), one) for place, one in enumerate(pictures))
    for place in (-1, count + layout.columns):
        with pytest.raises(ValueError, match=f"has no picture {place} of 7x5 px"):
            layout.cut(sheet, place, 5, 7)


@pytest.mark.parametrize("change", [{"columns": 0}, {"enlarge": 0}, {"gap": -1}])
def test_sheets_without_pictures_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="columns and enlarge are at least 1"):
        Sheet(**change)


def test_a_scene_that_is_shown_often_is_kept_once(folder: Path) -> None:
    found = read_examples(folder.with_suffix(".json"))
    assert len(found) == 10
    assert found[0].words == "a \u2028 \ud800 circle"
    assert np.array_equal(found[0].right, found[9].shown[0])
    with Image.open(folder / "scenes.png") as sheet:
        assert sheet.size == (7 * 2 + 8, 5 * 2 + 8)


def test_there_may_be_none(tmp_path: Path) -> None:
    assert read_examples(tmp_path / "it.json") == []
    write_examples([], tmp_path / "it")
    assert not (tmp_path / "it").exists()
    with pytest.raises(ValueError, match="tasks are generate, edit, complete, describe, got 'paint'"):
        Example("paint", "test-0")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"height": 0}, "at most 1000 examples of at most 2048 px, got 10 of 7x0"),
        ({"width": 10**6}, "at most 1000 examples of at most 2048 px"),
        ({"height": 64}, "has no picture 0 of 7x64 px"),
        ({"height": "5"}, "height is text, not a whole number"),
        ({"layout": {"columns": 0, "enlarge": 2, "gap": 4}}, "layout: columns and enlarge are at least 1"),
        ({"layout": {"columns": 8, "enlarge": 10**9, "gap": 4}}, "has no picture 0"),
        ({"examples": [{}]}, r"it has no examples\[0\].task"),
        ({"examples": {}}, "examples is an object, not a list"),
    ],
)
def test_damaged_files_are_one_line(folder: Path, change: dict[str, Any], why: str) -> None:
    values = json.loads((folder / "examples.json").read_text())
    (folder / "examples.json").write_text(json.dumps(values | change))
    with pytest.raises(TokbenchError, match=f"cannot read the examples in .*{why}.*; evaluate again, or remove the folder"):
        read_examples(folder.with_suffix(".json"))


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("task", "paint", "tasks are generate, edit, complete, describe, got 'paint'"),
        ("answer", {"sheet": "../../drawn", "number": 0}, "sheets are drawn, edited, completed, scenes, got '../../drawn'"),
        ("answer", {"sheet": "drawn", "number": 99}, "has no picture 99"),
        ("answer", {"sheet": "drawn", "number": -1}, "has no picture -1"),
        ("answer", {"sheet": "edited", "number": 0}, "edited.png: No such file or directory"),
    ],
)
def test_pictures_that_are_not_there_are_one_line(folder: Path, key: str, value: Any, why: str) -> None:
    values = json.loads((folder / "examples.json").read_text())
    values["examples"][0][key] = value
    (folder / "examples.json").write_text(json.dumps(values))
    with pytest.raises(TokbenchError, match=why):
        read_examples(folder.with_suffix(".json"))


@pytest.mark.parametrize("data", [b"", b"no png", b"\x89PNG\r\n\x1a\n"])
def test_sheets_that_are_no_pictures_are_one_line(folder: Path, data: bytes) -> None:
    (folder / "drawn.png").write_bytes(data)
    with pytest.raises(TokbenchError, match=r"drawn\.png: "):
        read_examples(folder.with_suffix(".json"))
