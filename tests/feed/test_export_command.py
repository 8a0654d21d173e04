"""``tokbench export`` and ``tokbench verify`` on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image


def test_export_verify_and_memmap(tokbench_cli, tmp_path: Path) -> None:
    out, array = tmp_path / "tokens", tmp_path / "array"
    again = ("export", "-t", "pixel/palette-512", "--limit", "5", "--size", "32", "--rows", "2", "--out", str(out), "--memmap", str(array))
    status, _, log = tokbench_cli(*again)
    assert status == 0, log
    assert "5 images in 3 new and 0 kept shards" in log
    frame = pd.read_parquet(out)
    assert len(frame) == 5
    codes = np.load(array / "codes.npy", mmap_mode="r")
    assert codes.shape == (5, 1024, 1)
    assert codes[3].flatten().tolist() == frame["codes"][3].tolist()
    assert "0 new and 3 kept" in tokbench_cli(*again)[2]

    status, text, _ = tokbench_cli("verify", str(out), "-t", "pixel/palette-512")
    assert (status, text.split(",")[2].strip()[:10]) == (0, "0 problems")
    assert "5 of 5 images encode to the same tokens" in text
    shard = sorted(out.glob("*.parquet"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    status, text, log = tokbench_cli("verify", str(out))
    assert status == 1
    assert shard.name in log


def test_verify_finds_tokenizer_and_images_by_itself(tokbench_cli, tmp_path: Path) -> None:
    given = ("--data", "photos/train", "--limit", "5", "--size", "32")
    status, _, log = tokbench_cli("export", "-t", "pixel/palette-512", *given, "--out", "tokens")
    assert status == 0, log
    for more in ((), ("-t", "pixel/palette-512"), ("--data", "photos/train")):
        status, text, log = tokbench_cli("verify", "tokens", *more)
        assert (status, log) == (0, "")
        assert text.startswith("1 shard, 5 images, 0 problems; 5 of 5 images encode to the same tokens, which decode to ")
    status, text, log = tokbench_cli("verify", "tokens", "--data", "photos")
    assert status == 1
    assert "5 of 5 sampled images are not in photos/test, such as" in log

    rng = np.random.default_rng(0)
    (tmp_path / "mine").mkdir()
    for number in range(3):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / "mine" / f"{number}.png")
    assert tokbench_cli("export", "-t", "pixel/palette-512", "--data", "mine", "--size", "32", "--out", "own")[0] == 0
    assert "3 of 3 images encode to the same tokens" in tokbench_cli("verify", "own")[1]
    (tmp_path / "mine").rename(tmp_path / "moved")
    status, text, log = tokbench_cli("verify", "own")
    assert (status, text) == (0, "1 shard, 3 images, 0 problems\n")
    assert log == "not compared with images: its images, mine, are not in this folder; give -t and --data\n"
    assert "; give --data\n" in tokbench_cli("verify", "own", "-t", "pixel/palette-512")[2]
    assert "3 of 3 images encode" in tokbench_cli("verify", "own", "--data", "moved")[1]


def test_ranks_share_an_export_with_a_memory_map(tokbench_cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again = ("export", "-t", "pixel/palette-512", "--limit", "5", "--size", "32", "--rows", "2", "--out", "tokens", "--memmap", "array")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    status, _, log = tokbench_cli(*again)
    assert status == 0, log
    assert "other ranks are not done yet" in log
    assert "the rank that finishes last writes array" in log
    monkeypatch.setenv("RANK", "0")
    status, _, log = tokbench_cli(*again)
    assert status == 0, log
    assert "array/codes.npy holds them as one array" in log
    assert np.load(tmp_path / "array" / "codes.npy").shape == (5, 1024, 1)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "export needs --tokenizer (Name, or module:Class), got none. See: tokbench export --help"),
        (("-t", "vqvae"), "export needs --out (Folder for the shards), got none. See: tokbench export --help"),
        (("-t", "pixel", "-t", "vqvae", "--out", "there"), "--tokenizer takes one value, and 2 were given: pixel, vqvae; give one of them"),
        (("-t", "pixel", "--out", "there", "--memmap", "there"), "there lies in there, whose readers expect Parquet files alone"),
        (("--verify", "nowhere"), "export --verify is a command of its own now: tokbench verify nowhere"),
        (("--verify", "nowhere", "--out", "there"), "export --verify is a command of its own now: tokbench verify nowhere"),
        (
            ("-t", "pixel", "--labels", "guess", "--out", "there"),
            "unknown --labels 'guess'; allowed: folder, none, source. See: tokbench export --help",
        ),
        (
            ("-t", "vae", "--latents", "int8", "--out", "there"),
            "unknown --latents 'int8'; allowed: float16, float32. See: tokbench export --help",
        ),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    tokbench_cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, log = tokbench_cli("export", *arguments)
    assert status == 2
    assert problem in log
    assert log.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "verify needs DIR (An export, whole or begun), got none. See: tokbench verify --help"),
        (("nowhere",), "nowhere holds no exported tokens"),
    ],
)
def test_mistakes_of_verifying_are_one_line(tokbench_cli, arguments: tuple[str, ...], problem: str) -> None:
    status, _, log = tokbench_cli("verify", *arguments)
    assert status == 2
    assert problem in log
    assert log.count("\n") == 1
