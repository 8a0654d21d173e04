"""The command that measures speed: what it prints, writes and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

BROKEN = """
import torch
from tokbench import DiscreteTokens, TokenLayout, Tokenizer

class Broken(Tokenizer):
    trained_with = ()
    def layout(self, height, width):
        return TokenLayout((height, width), (1,), (2,))
    def _encode(self, images, seeds):
        raise RuntimeError("no luck")
    def _decode(self, tokens, seeds):
        raise RuntimeError("no luck")

class Unbuilt(Broken):
    def __init__(self):
        raise ZeroDivisionError("at birth")
"""

SIDES = "--sizes takes sides of 1 to 8192 px, or heights and widths, separated by commas"

QUICK = ("--modes", "warm", "--rounds", "1", "--warmup", "1", "--batches", "1")


def test_it_prints_tables_and_writes_a_record_of_each(tokbench_cli: Callable, tmp_path: Path) -> None:
    status, out, err = tokbench_cli("speed", "-t", "pixel/rgb", "-t", "patch", *QUICK, "--sizes", "8, 9", "--json")
    assert status == 0, err
    records = json.loads(out)
    assert [record["kind"] for record in records] == ["speed test"] * 2
    assert [record["tokenizer"]["name"] for record in records] == ["pixel/rgb", "patch/kmeans-1024"]
    assert {row["outcome"] for row in records[0]["rows"]} == {"measured"}
    assert [row["outcome"] for row in records[1]["rows"]] == ["measured"] * 4  # 9 px are padded to 12
    assert records[0]["beside"] == ["patch/kmeans-1024"]
    assert records[0]["protocol"]["sizes"] == [8, 9]
    assert len(list((tmp_path / "runs" / "speed").glob("*.json"))) == 2


def test_heights_and_widths_are_measured_and_squares_are_recorded_as_one_number(tokbench_cli: Callable, tmp_path: Path) -> None:
    status, out, err = tokbench_cli("speed", "-t", "pixel/rgb", *QUICK, "--sizes", "8x12, 8x8,8, 12X8", "--json")
    assert status == 0, err
    (record,) = json.loads(out)
    assert record["protocol"]["sizes"] == [[8, 12], 8, [12, 8]]
    assert [(row["size"], row["outcome"]) for row in record["rows"][::2]] == [([8, 12], "measured"), (8, "measured"), ([12, 8], "measured")]
    (path,) = (tmp_path / "runs" / "speed").glob("*.json")
    assert path.name == "pixel-rgb_speed_cpu_8x12-8-12x8px_batch=1_fp32.json"
    status, out, err = tokbench_cli("compare", "runs/speed", "--format", "json")
    assert status == 0, err
    titles = [table["title"].partition(",")[0] for table in json.loads(out)]
    assert titles == [f"{stage} at {size} px" for size in ("8", "8x12", "12x8") for stage in ("encoding", "decoding")]


def test_a_crash_is_named_the_others_are_measured_and_the_status_is_1(tokbench_cli: Callable, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    status, out, err = tokbench_cli(
        "speed", "-t", "broken:Broken", "-t", "broken:Unbuilt", "-t", "pixel/rgb", *QUICK, "--sizes", "8", "--json"
    )
    assert status == 1
    records = json.loads(out)
    assert [{row["outcome"] for row in record["rows"]} for record in records] == [{"failed"}, {"measured"}]
    assert err.count("fails in encode (RuntimeError: no luck, broken.py line 10); mend it there") == 1
    assert "ZeroDivisionError: at birth" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sizes", "64,x"], f"{SIDES}, such as --sizes 256,576x1024; got '64,x'"),
        (["--sizes", ""], f"{SIDES}, such as --sizes 256,576x1024; got ''"),
        (["--sizes", "64,8193x4"], f"{SIDES}, such as --sizes 256,576x1024; got '64,8193x4'"),
        (["--sizes", "0"], f"{SIDES}, such as --sizes 256,576x1024; got '0'"),
        (["--batches", "0"], "--batches takes whole numbers from 1 to 65536 separated by commas, such as --batches 8,32; got '0'"),
        (["--batches", "²"], "--batches takes whole numbers from 1 to 65536"),
        (["--modes", "hot"], "unknown mode 'hot'; allowed: compiled, warm. See: tokbench speed --help"),
        (["--modes", ","], "--modes needs some of warm, compiled, got ','"),
        (["--rounds", "0"], "--rounds takes a whole number from 1 to 10000, got '0'. See: tokbench speed --help"),
        (["-t", "vqvae", "--weights", "x"], "--weights, --drop and --averages belong to one tokenizer, 2 are given"),
        (["-t", "anchor/webp-320"], "anchor/webp-320 is a codec, whose speed tokbench run measures; tokbench speed takes tokenizers"),
        (["--out", "file"], "--out 'file' is no folder; choose another place"),
    ],
)
def test_mistakes_are_one_line_and_status_2(tokbench_cli: Callable, tmp_path: Path, words: list[str], message: str) -> None:
    (tmp_path / "file").write_text("")
    status, out, err = tokbench_cli("speed", "-t", "pixel/rgb", *words)
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "runs").exists()
