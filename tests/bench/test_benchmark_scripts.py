"""What the scripts of benchmarks/ measure with, on little: blocks of the page, imports counted once, the same pixels on both sides."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from tokbench.bench.metrics import measured_by
from tokbench.bench.runner import run
from tokbench.data.folder import FolderSource
from tokbench.records.protocol import get_protocol
from tokbench.records.record import MetricResult
from tokbench.records.store import write_record

Load = Callable[[str], ModuleType]


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts import each other, as they do where they are run."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")


def test_a_block_takes_the_place_of_its_own_and_leaves_others(
    script: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = script("benchmarks/readme.py")
    page = tmp_path / "README.md"
    monkeypatch.setattr(readme.write_block, "__kwdefaults__", {"path": page})
    for name, lines in (("one", ("first",)), ("two", ("other",)), ("one", ("second", "third"))):
        block = readme.Block(name, name.title(), write=True)
        for line in lines:
            block.say(line)
        block.end()
    unwritten = readme.Block("one", "One", write=False)
    unwritten.say("fourth")
    unwritten.end()
    text = page.read_text()
    assert "first" not in text
    assert "fourth" not in text
    assert text.index("## One\n\nsecond\nthird") < text.index("## Two\n\nother")
    assert capsys.readouterr().out.split() == ["first", "other", "second", "third", "fourth"]


def test_time_of_nested_imports_counts_once(script: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overhead = script("benchmarks/overhead.py")
    now = iter(range(100))
    monkeypatch.setattr(overhead.time, "perf_counter", lambda: next(now))
    (tmp_path / "outer_of_a_test.py").write_text("import inner_of_a_test\n")
    (tmp_path / "inner_of_a_test.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    before = __import__
    with overhead.Imports() as imports:
        import outer_of_a_test  # noqa: F401  # type: ignore[import-not-found]
    assert __import__ is before
    assert imports.seconds == 1
    for name in ("outer_of_a_test", "inner_of_a_test"):
        sys.modules.pop(name)


def test_ratios_of_a_run_are_of_the_same_round(script: Load) -> None:
    overhead = script("benchmarks/overhead.py")
    one = {"command": 13.0, "imports": 3.0, "encode": 4.0, "decode": 2.0, "judges": 2.0, "reading": 1.0, "metrics": 2.5, "end": 0.5}
    again = one | {"again": 2.0}
    slower = {key: 2 * value for key, value in one.items()}
    row = overhead.row("vqgan", [one, slower, one])
    assert row == "| vqgan | 3.00 | 10.00 | 8.00 | 10.00 | 1.250 | 1.000 |"
    assert overhead.row("vqgan", [again]) == "| vqgan | 3.00 | 10.00 | 10.00 | 10.00 | 1.000 | 1.000 |"  # what metrics take holds it


def test_both_readers_give_the_same_pixels(script: Load, tmp_path: Path) -> None:
    loading = script("benchmarks/loading.py")
    (tmp_path / "class").mkdir()
    for seed, size in enumerate(((500, 375), (300, 420), (256, 256))):
        noise = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
        Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(tmp_path / "class" / f"{seed}.jpg", quality=90)
    assert loading.apart(FolderSource(tmp_path), get_protocol("tokbench-256"), tmp_path) == 0


def test_a_round_measures_every_part(script: Load, capsys: pytest.CaptureFixture[str]) -> None:
    overhead = script("benchmarks/overhead.py")
    found = overhead.parts("pixel/palette-512", 4, calls=1)
    assert set(found) == {"encode", "decode", "again", "judges", "reading", "metrics", "end"}
    assert all(seconds >= 0 for seconds in found.values())
    assert json.dumps(found)


def test_the_record_says_how_a_round_ran(script: Load, tmp_path: Path, folder: Path) -> None:
    conditions = script("benchmarks/overhead.py").conditions
    record = run("pixel/palette-512", folder, protocol=get_protocol(changes={"size": 16}), metrics=("psnr",)).record
    psnr, lacking = record.metrics["psnr"], {"rfid": MetricResult(reason="the Inception weights are not here")}
    usual = {key: psnr for metric in measured_by(record.protocol) for key in metric.figure_names()}
    for name, metrics, said in (
        ("usual", usual | lacking, "with the default metrics, without rFID"),
        ("whole", usual, "with the default metrics"),
        ("two", {"psnr": psnr} | lacking, "with PSNR, without rFID"),
    ):
        write_record(replace(record, metrics=metrics), {}, tmp_path / name)
        assert conditions(tmp_path / name) == f"under photos-64+data=pictures+size=16, {said}"
