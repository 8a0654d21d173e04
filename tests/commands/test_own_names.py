"""A folder of one's own that is called like images of the package: which one is meant, that it is said, and that records tell them apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tokbench.data.open import open_source, open_training_source, spec_of
from tokbench.records.store import find_records
from tokbench.report.page.commands import placed, run_command

NAMES = ("photos", "text", "scenes", "faces")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Folders of those names, with images in classes."""
    for name in NAMES:
        for number in range(4):
            place = tmp_path / name / "test" / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.default_rng(number).integers(256, size=(32, 32, 3), dtype=np.uint8)).save(place)
    return tmp_path


def noted(name: str) -> str:
    return f"{name} is taken as the images of that name that come with tokbench; what is called so in this folder is ./{name}\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_told_from_the_set_of_its_name(own: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own)
    for source in (open_source(f"./{name}", size=64), open_training_source(f"./{name}"), open_source(spec_of(Path(name)), size=64)):
        assert (source.name, len(source)) == (f"{name} (own images)", 4)
    assert placed(f"{name} (own images)") == f"./{name}"
    assert spec_of(name) == name
    assert placed(f"faces:{name} (own images)") == f"faces:./{name}"


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("run -t pixel/rgb --metrics psnr --limit 2 --data", "scenes"),
        ("run -t pixel/rgb --metrics psnr --limit 2 --data text --data", "scenes/test"),
        ("export -t pixel --limit 2 --out tokens --data", "photos"),
        ("predict -t pixel --figures statistics --limit 2 --data", "scenes"),
        ("train no-such-recipe --data", "photos"),
        ("lm train no-such-stage --data", "scenes"),
        ("lm evaluate missing --data", "scenes"),
        ("lm evaluate missing --data ./scenes --training", "scenes/test"),
        ("verify missing --data", "scenes"),
        ("report missing --data", "text"),
        ("explain missing missing --measure --data", "text"),
        ("explain missing missing --measure --reference", "text"),
        ("probe -t no-such-tokenizer --data", "photos"),
        ("probe -t no-such-tokenizer --data ./text --held-out-data", "scenes"),
        ("run -t no-such-tokenizer --reference", "raw:photos"),
        ("score ./text", "scenes"),
        ("reconstruct -t no-such-tokenizer", "photos/test/0.png"),
        ("lm describe -m missing", "photos/test/0.png"),
    ],
)
def test_each_command_says_which_is_meant(tokbench_cli: Callable, own: Path, words: str, given: str) -> None:
    err = tokbench_cli(*words.split(), given)[2]
    assert err.count(noted(given.removeprefix("raw:"))) == 1
    silent = tokbench_cli(*words.split(), "./text/test/0.png" if "/0.png" in given else "./text")[2]
    assert noted(given) not in silent


def test_nothing_is_said_where_nothing_is_called_so(tokbench_cli: Callable, tmp_path: Path) -> None:
    assert "is taken as" not in tokbench_cli("run", "-t", "no-such-tokenizer", "--data", "scenes")[2]


def test_a_default_is_no_name(tokbench_cli: Callable, own: Path) -> None:
    assert "is taken as" not in tokbench_cli("export", "-t", "no-such-tokenizer", "--out", "tokens")[2]


def test_records_of_both_are_of_two_data_sets(tokbench_cli: Callable, own: Path) -> None:
    words = ("run", "-t", "pixel/rgb", "--size", 64, "--limit", 4, "--metrics", "psnr", "--out", "out")
    status, out, err = tokbench_cli(*words, "--data", "scenes", "--data", "./scenes", "--json")
    assert status == 0, err
    assert [record["data"]["name"] for record in json.loads(out)] == ["scenes/test", "scenes (own images)"]
    assert "2 data sets" in tokbench_cli("compare", "out")[1]
    page = tokbench_cli("report", "out", "-o", "page.html")
    assert page[0] == 0
    assert "the images of scenes (own images) do not come with the package" in page[2]
    theirs = next(record for _, record in find_records([own / "out"]) if record.data.name.endswith("(own images)"))
    assert "--data ./scenes " in run_command(theirs)


def test_scenes_are_chosen_by_their_split_alone(tokbench_cli: Callable, tmp_path: Path) -> None:
    for given in ("scenes/test", "scenes:12"):
        status, out, err = tokbench_cli("lm", "evaluate", "--data", given)
        assert (status, out) == (2, "")
        assert err == f"tokbench: --data {given}: scenes are chosen by --split and --prompts; leave --data out\n"


def test_what_is_scored_has_the_name_of_its_folder(tokbench_cli: Callable, own: Path) -> None:
    status, out, err = tokbench_cli("score", "./scenes", "./text", "--metrics", "psnr", "--out", "out", "--json")
    assert status == 0, err
    (record,) = json.loads(out)
    assert (record["tokenizer"]["name"], record["data"]["name"]) == ("text", "scenes (own images)")
