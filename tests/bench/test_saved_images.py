"""Pictures out: the bytes on the disk are those measured, every id has a file of its own, and no folder mixes runs."""

import hashlib
import json
import os

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

import tokbench
from tokbench.bench.psnr import psnr
from tokbench.bench.runner import RunOptions, run
from tokbench.bench.saved_images import file_names
from tokbench.errors import TokbenchError
from tokbench.records.protocol import get_protocol


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path):
    """Pictures in subfolders, one larger than measured, with names that file systems take for one another."""
    for i, name in enumerate(["a.png", "b/a.png", "b/A b.png", "b/c/a.png", "Ä.png", "a.jpg"]):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.kron(np.random.default_rng(i).integers(0, 256, (10 + i, 12, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
        Image.fromarray(pixels).save(path)
    return tmp_path / "data"


def measured(name, data, folder, size=64, **settings):
    options = RunOptions(save_images=folder, cache=False)
    return run(
        tokbench.load(name, config=settings), data, metrics=("psnr",), protocol=get_protocol(changes={"size": size}), options=options
    )


def pixels_of(folder, index):
    rows = json.loads((folder / f"{index}.json").read_text())
    assert rows["complete"]
    found = {}
    for row in rows["files"]:
        with Image.open(folder / row["file"]) as image:
            found[row["id"]] = np.array(image)
        assert hashlib.sha256(found[row["id"]].tobytes()).hexdigest() == row["pixels_sha256"]
    assert len({row["file"].lower() for row in rows["files"]}) == len(found)
    return found


def test_the_bytes_on_the_disk_give_the_figures_of_the_record(data, tmp_path):
    folder = tmp_path / "images"
    for name in ("pixel/palette-512", "vqvae/tiny"):
        evaluation = measured(name, data, folder)
        before, after = pixels_of(folder, "originals"), pixels_of(folder, name.replace("/", "-"))
        assert before.keys() == after.keys() == evaluation.rows["psnr"].keys()
        for key, value in evaluation.rows["psnr"].items():
            pair = [torch.from_numpy(part[key]).permute(2, 0, 1)[None] for part in (before, after)]
            assert psnr(*pair).item() == value
    assert {path.name for path in folder.iterdir()} == {
        "originals", "originals.json", "pixel-palette-512", "pixel-palette-512.json", "vqvae-tiny", "vqvae-tiny.json",
    }  # fmt: skip
    assert (folder / "originals" / "b" / "c" / "a.png").is_file()
    assert len([path for path in folder.rglob("*.png")]) == 3 * 6


def test_a_folder_is_gone_on_with_and_never_mixes_runs(data, tmp_path):
    folder = tmp_path / "images"
    measured("pixel/rgb", data, folder)
    first = {path: path.read_bytes() for path in folder.rglob("*.png")}
    measured("pixel/rgb", data, folder)
    assert {path: path.read_bytes() for path in folder.rglob("*.png")} == first
    with pytest.raises(TokbenchError, match=r"holds the images of another run \(protocol\.size 64 there, 32 here\)"):
        measured("pixel/rgb", data, folder, size=32)
    measured("pixel/palette-512", data, folder)
    tokenizer = tokbench.load("pixel/palette-512")
    tokenizer.clusters += 0.01
    with pytest.raises(TokbenchError, match=r"pixel-palette-512 holds the images of another tokenizer \(state_sha256 "):
        run(tokenizer, data, metrics=("psnr",), protocol=get_protocol(), options=RunOptions(save_images=folder))
    Image.new("RGB", (80, 80), (9, 9, 9)).save(data / "a.png")
    with pytest.raises(TokbenchError, match=r"a\.png is not the image it was when"):
        measured("pixel/rgb", data, folder)
    (data / "new.png").write_bytes((data / "a.png").read_bytes())
    with pytest.raises(TokbenchError, match="another run"):
        measured("pixel/rgb", data, folder)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"files": 3}', '{"files": [{}]}', "[" * 100_000, '{"files": [{"id": [], "pixels_sha256": "0"}]}'],
)
def test_other_folders_are_refused(data, tmp_path, content):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("")
    with pytest.raises(TokbenchError, match="holds other files; choose a folder for --save-images that is empty"):
        measured("pixel/rgb", data, tmp_path / "other")
    (tmp_path / "other" / "originals.json").write_text(content)
    with pytest.raises(TokbenchError, match=r"originals\.json was not written by tokbench run --save-images"):
        measured("pixel/rgb", data, tmp_path / "other")
    assert not list((tmp_path / "other").rglob("*.png"))


def test_a_pipe_for_an_index_is_refused_at_once(data, tmp_path):
    (tmp_path / "other").mkdir()
    os.mkfifo(tmp_path / "other" / "originals.json")
    with pytest.raises(TokbenchError, match=r"originals\.json was not written by tokbench run --save-images"):
        measured("pixel/rgb", data, tmp_path / "other")


def test_from_the_command_line(tokbench_cli, data, tmp_path):
    arguments = ("--data", "data", "--metrics", "psnr", "--save-images", "images")
    status, _, err = tokbench_cli("run", "-t", "pixel/rgb", "-t", "pixel", *arguments)
    assert status == 0, err
    assert len(list((tmp_path / "images").rglob("*.png"))) == 18
    status, _, err = tokbench_cli("run", "-t", "pixel/rgb", *arguments, "--limit", 2)
    assert (status, err.count("\n")) == (2, 1)
    assert "images holds the images of another run" in err


PARTS = st.text(st.sampled_from("aAbB./\\: é\0\n-_\udc80"), min_size=1, max_size=8)


@given(st.lists(PARTS, min_size=1, max_size=30, unique=True))
@example(["a", "A", "a.png", "a.PNG", "a.jpg", "a.png/b", "../a", "/a", "a//b", "a/b", "a/./b", "con", "CON.png", "x" * 300, "", ".", ".."])
def test_every_id_has_a_file_of_its_own_below_the_folder(ids):
    names = file_names(ids)
    assert names.keys() == set(ids)
    taken = [name.lower() for name in names.values()]
    assert len(set(taken)) == len(taken)
    folders = {"/".join(name.split("/")[:depth]) for name in taken for depth in range(1, name.count("/") + 1)}
    assert not folders & set(taken)
    for name in names.values():
        parts = name.split("/")
        assert all(part and not part.startswith(".") and len(part) < 120 and part.isascii() for part in parts)
        assert name.endswith(".png")
        assert not any(part.lower().partition(".")[0] in ("con", "nul", "aux", "prn") for part in parts)
    assert file_names(ids[::-1]) == names


def test_an_id_that_ends_like_a_digest_takes_no_place_of_another():
    (changed,) = file_names(["a b"]).values()
    for other in (changed, changed.removesuffix(".png"), changed.upper()):
        assert len({name.lower() for name in file_names(["a b", other]).values()}) == 2


def test_names_that_need_no_change_stay():
    assert file_names(["n01/a_1.JPEG", "b.png", "photo/00"]) == {
        "n01/a_1.JPEG": "n01/a_1.png",
        "b.png": "b.png",
        "photo/00": "photo/00.png",
    }
