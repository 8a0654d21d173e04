"""``tokbench export`` on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest


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

    status, text, _ = tokbench_cli("export", "--verify", str(out), "-t", "pixel/palette-512")
    assert (status, text.split(",")[2].strip()[:10]) == (0, "0 problems")
    assert "5 of 5 images encode to the same tokens" in text
    shard = sorted(out.glob("*.parquet"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    status, text, log = tokbench_cli("export", "--verify", str(out))
    assert status == 1
    assert shard.name in log


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "export takes --tokenizer NAME and --out FOLDER"),
        (("-t", "vqvae"), "export takes --tokenizer NAME and --out FOLDER"),
        (("--verify", "nowhere"), "nowhere holds no exported tokens"),
        (("--verify", "nowhere", "--out", "there"), "leave --out out"),
        (("-t", "pixel", "--labels", "guess", "--out", "there"), "--labels is source, folder or none, got 'guess'"),
        (("-t", "vae", "--latents", "int8", "--out", "there"), "--latents is float32 or float16, got 'int8'"),
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
