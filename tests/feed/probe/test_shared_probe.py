"""Processes that share a probe find what one finds alone, and one of them has it."""

from __future__ import annotations

import json
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

SCRIPT = Path(__file__).with_name("shared_probe.py")


def shared(*words: object) -> list[subprocess.CompletedProcess[str]]:
    """Run two processes as torchrun does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, *map(str, words)],
            cwd=Path(__file__).parents[3],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    ends = [process.communicate(timeout=900) for process in started]
    return [subprocess.CompletedProcess(words, process.returncode, *texts) for process, texts in zip(started, ends, strict=True)]


@pytest.mark.slow  # three processes import transformers
def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    first, second = shared(SCRIPT, tmp_path / "two")
    assert (first.returncode, first.stderr) == (second.returncode, second.stderr) == (0, "")
    assert second.stdout == "nothing\n"
    together: dict[str, Any] = json.loads(first.stdout)
    alone: dict[str, Any] = json.loads(runpy.run_path(str(SCRIPT))["run"](tmp_path / "one").record.to_json())
    assert [point["images_seen"] for point in together["curve"]] == [0, 12, 21]
    for name in ("train", "held_out"):
        one, two = ([point[name] for point in found["curve"] if point[name] is not None] for found in (alone, together))
        assert two == pytest.approx(one, rel=1e-4), name
    assert alone["figures"].keys() == together["figures"].keys()
    for name, figure in alone["figures"].items():
        rounding = 1.0 if name == "coded_bits_per_image" else 0.0  # files are of whole bytes
        assert together["figures"][name]["value"] == pytest.approx(figure["value"], rel=1e-4, abs=rounding), name
    assert together["coding"]["decoded"]
    assert alone["train"] == together["train"]
    assert len(list((tmp_path / "two").iterdir())) == 2  # exports, each made once
