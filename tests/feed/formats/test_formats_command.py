"""``tokbench export --as`` and ``--from`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

COMMON = (
    "export",
    "-t",
    "pixel/palette-512",
    "--data",
    "photos/train",
    "--limit",
    "3",
    "--size",
    "32",
    "--labels",
    "folder",
    "--out",
    "tokens",
)


def test_formats_are_written_with_the_export_or_from_it(tokbench_cli, tmp_path: Path) -> None:
    status, _, log = tokbench_cli(*COMMON, "--as", "sequences", "--as", "megatron=mega")
    assert status == 0, log
    assert "tokens-sequences holds them as sequences\nmega holds them as megatron\n" in log
    shards = {path.name: path.read_bytes() for path in (tmp_path / "tokens").iterdir()}
    rows = pq.read_table(tmp_path / "tokens-sequences").to_pylist()
    assert [row["input_ids"] for row in rows] == [row["labels"] for row in rows]
    assert len(rows) == 3

    status, text, log = tokbench_cli("verify", "tokens")
    assert (status, log) == (0, "")
    assert "0 problems; 3 of 3 images encode to the same tokens" in text
    status, _, log = tokbench_cli("export", "--from", "tokens", "--as", "bin", "--as", "rar", "--id-type", "uint32", "--loss", "all")
    assert (status, log) == (0, "tokens-bin holds them as bin\ntokens-rar holds them as rar\n")
    stream = np.fromfile(tmp_path / "tokens-bin" / "tokens.bin", "<u4").tolist()
    assert stream == [number for row in rows for number in row["input_ids"]]
    lines = [json.loads(line) for line in (tmp_path / "tokens-rar" / "pretokenized.jsonl").read_text().splitlines()]
    assert {path.name: path.read_bytes() for path in (tmp_path / "tokens").iterdir()} == shards
    assert [len(line["tokens"]) for line in lines] == [1024] * 3
    assert tokbench_cli(*COMMON, "--as", "sequences")[0] == 0

    numbers = ("--vocabulary", "tokens-bin/.vocabulary.json")
    assert tokbench_cli("export", "--from", "tokens", "--as", "bin=again", "--id-type", "uint32", *numbers)[0] == 0
    assert (tmp_path / "again" / "tokens.bin").read_bytes() == (tmp_path / "tokens-bin" / "tokens.bin").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((*COMMON, "--as", "sequence"), "unknown --as 'sequence'; did you mean sequences? See: tokbench export --help"),
        ((*COMMON, "--as", "bin="), "--as takes FORMAT or FORMAT=DIR, got 'bin='; name a folder, or leave = out"),
        ((*COMMON, "--as", "bin", "--as", "bin=x"), "--as names bin twice; name every format once"),
        ((*COMMON, "--as", "bin=x", "--as", "rar=x"), "x is asked for by bin and rar; give each a folder of its own"),
        ((*COMMON, "--as", "bin=tokens/bin"), "tokens/bin lies in tokens, whose readers expect Parquet files alone"),
        ((*COMMON, "--as", "latents"), "latents takes latents, and pixel/palette-512 makes codes"),
        (
            (*COMMON, "--as", "bin", "--condition", "caption"),
            "train has no captions to stand before its images; choose another --condition",
        ),
        ((*COMMON, "--as", "bin", "--vocabulary", "no.json"), "--vocabulary no.json cannot be read (No such file or directory)"),
        ((*COMMON, "--as", "bin", "--text-tokenizer", "no.json"), "no.json cannot be read (No such file or directory)"),
        (("export", "--from", "tokens", "--as", "bin"), "tokens holds no exported tokens; make some with tokbench export"),
        (("export", "--from", "tokens"), "--from needs --as (one of sequences, megatron,"),
        (
            ("export", "--from", "tokens", "-t", "vqgan", "--as", "bin", "--limit", "3", "--views", "none", "--strict"),
            "--from encodes nothing and takes no --tokenizer, --limit, --views, --strict; leave out --from, or these",
        ),
        ((*COMMON, "--loss", "image", "--id-type", "uint16"), "--loss, --id-type belongs to --as, and none was given; name a format"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(tokbench_cli, tmp_path: Path, arguments: tuple[str, ...], problem: str) -> None:
    status, _, log = tokbench_cli(*arguments)
    assert status == 2
    assert problem in log
    assert log.count("\n") == 1
    assert not [path for path in tmp_path.iterdir() if path.name != "cache"]


def test_the_first_of_many_processes_writes_from_an_export(tokbench_cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert tokbench_cli("export", "--from", "tokens", "--as", "bin") == (0, "", "")
    monkeypatch.setenv("RANK", "0")
    status, _, log = tokbench_cli("export", "--from", "tokens", "--as", "bin")
    assert (status, log.startswith("tokbench: tokens holds no exported tokens")) == (2, True)
