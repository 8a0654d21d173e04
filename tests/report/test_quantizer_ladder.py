"""The study of quantizers: its tables come of records that belong together, and a row is made once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tokbench.errors import TokbenchError
from tokbench.records.record import MetricResult

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def study(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("benchmarks/quantizer_ladder.py")


@pytest.fixture
def write(tmp_path: Path, make_record: Callable[..., Any], make_probe: Callable[..., Any]) -> Callable[..., Path]:
    """Writes the records of a row, with a PSNR of so much."""

    def write(label: str, psnr: float, *, probe: float | None = None, probed: str = "1" * 64, size: int | None = None) -> Path:
        continuous = label.startswith("kl")
        record = make_record("vae/tiny" if continuous else "vqvae/tiny", bits=None if continuous else -1).record
        record = replace(
            record,
            tokenizer=replace(record.tokenizer, state_sha256="1" * 64),
            metrics=record.metrics | {"psnr": MetricResult(psnr, "dB", True)},
            tokens=replace(record.tokens, storage_bits_per_image=32768 if continuous else None),
            protocol=record.protocol if size is None else replace(record.protocol, size=size),
        )
        place = tmp_path / "results" / label
        place.mkdir(parents=True)
        (place / "run.json").write_text(record.to_json())
        if probe is not None:
            made = make_probe(bits=probe)
            (place / "probe.json").write_text(replace(made, tokenizer=replace(made.tokenizer, state_sha256=probed)).to_json())
        return tmp_path / "results"

    return write


def cells(text: str, name: str) -> list[list[str]]:
    """The cells of every row of a name."""
    return [[cell.strip() for cell in line.split("|")[2:-1]] for line in text.splitlines() if line.startswith(f"| {name} |")]


def test_nothing_is_said_where_nothing_was_measured(study, tmp_path):
    assert study.tables(tmp_path / "nowhere") == study.tables(tmp_path) == "Nothing has been measured yet."
    (tmp_path / "fsq").mkdir()
    (tmp_path / "fsq" / "log.jsonl").write_text("{}\n")
    assert study.tables(tmp_path) == "Nothing has been measured yet."


def test_rows_stand_in_the_order_of_rungs_with_the_figures_of_both_records(study, write):
    write("fsq", 25.0, probe=1800.0)
    folder = write("vq-ema", 26.0)
    text = study.tables(folder)
    assert text.index("| vq-ema |") < text.index("| fsq |")
    assert "25.00" in cells(text, "fsq")[0]
    assert "1800" in cells(text, "fsq")[0]
    assert "-" in cells(text, "vq-ema")[0]
    assert "storage" not in text
    assert "seeds" not in text


def test_latents_stand_apart_by_what_they_take_to_store(study, write):
    write("kl", 29.0)
    text = study.tables(write("fsq", 25.0))
    assert cells(text, "kl")[0][0] == "32768"
    assert "29.00" in cells(text, "kl")[0]
    assert text.index("apart, latents") > text.index("| fsq |")


def test_seeds_give_a_mean_with_its_ends_and_so_do_rungs(study, write):
    write("fsq", 25.0)
    write("fsq+seed=1", 26.0)
    write("fsq+seed=2", 27.5)
    write("fsq+seed=1+steps=20", 10.0)
    text = study.tables(write("ibq", 20.0))
    assert "26.17 [25.00, 27.50]" in cells(text, "fsq, 3 seeds")[0]
    assert "22.50 [20.00, 25.00]" in cells(text, "2 rungs, one seed")[0]
    assert not cells(text, "fsq+seed=1")


def test_records_that_do_not_belong_together_are_refused(study, write):
    folder = write("fsq", 25.0, probe=1800.0, probed="2" * 64)
    with pytest.raises(TokbenchError, match=r"fsq are of different weights; remove the folder, and make the row again$"):
        study.tables(folder)


def test_rows_that_do_not_compare_are_refused(study, write):
    write("fsq", 25.0)
    with pytest.raises(TokbenchError, match="measured otherwise than others there; move them out, or measure them again alike"):
        study.tables(write("lfq", 25.0, size=32))


def test_a_folder_of_no_rung_is_named(study, write):
    with pytest.raises(TokbenchError, match="vqq is of no rung of the ladder; rungs are vq-ema, simvq, ibq, fsq, lfq, bsq, residual, kl"):
        study.tables(write("vqq", 25.0))


def test_two_records_of_a_kind_are_refused(study, write):
    folder = write("fsq", 25.0)
    (folder / "fsq" / "again.json").write_text((folder / "fsq" / "run.json").read_text())
    with pytest.raises(TokbenchError, match="holds 2 records of runs and 0 of probes; keep one of each"):
        study.tables(folder)


@pytest.fixture
def commands(study, monkeypatch, make_record, make_probe, tmp_path) -> list[tuple[str, ...]]:
    """The commands that a row calls, which leave what the real ones leave."""
    called: list[tuple[str, ...]] = []

    def command(name: str, *words: object) -> None:
        called.append((name, *map(str, words)))
        out = Path(str(words[words.index("--out") + 1]))
        out.mkdir(parents=True, exist_ok=True)
        if name == "train":
            (out / "log.jsonl").write_text('{"step": 3}\n')
            (out / "checkpoint.pt").write_bytes(b"")
        else:
            record = make_record("vqvae/tiny").record if name == "run" else make_probe()
            (out / f"{name}.json").write_text(record.to_json())
            (out / f"{name}.parquet").write_bytes(b"")

    monkeypatch.setattr(study, "tokbench", command)
    monkeypatch.chdir(tmp_path)
    return called


def main(study, monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["quantizer_ladder.py", *words, "--runs", "runs", "--results", "results"])
    study.main()


def test_a_row_is_made_once_and_goes_on_where_it_was_stopped(study, monkeypatch, commands):
    main(study, monkeypatch, "row", "fsq", "--seed", "1")
    train, run, probe = commands
    assert train == ("train", "ladder-fsq", "--set", "seed=1", "--out", "runs/fsq+seed=1")
    assert run[:3] == ("run", "-t", "runs/fsq+seed=1")
    assert probe[-2:] == ("--out", "runs/fsq+seed=1/probe")
    made = {path.name for path in Path("results/fsq+seed=1").iterdir()}
    assert made == {"log.jsonl", "run.json", "run.parquet", "probe.json", "probe.parquet"}
    main(study, monkeypatch, "row", "fsq", "--seed", "1")
    assert len(commands) == 3
    Path("results/fsq+seed=1/probe.json").unlink()
    main(study, monkeypatch, "row", "fsq", "--seed", "1")
    assert [words[0] for words in commands[3:]] == ["train"]  # which goes on, and is done; the probe is there
    assert commands[3][-1] == "--resume"
    assert Path("results/fsq+seed=1/probe.json").is_file()


def test_a_row_to_try_says_so_and_latents_have_no_probe(study, monkeypatch, commands):
    main(study, monkeypatch, "row", "kl", "--steps", "3", "--limit", "8")
    assert [words[0] for words in commands] == ["train", "run"]
    assert commands[0][-4:] == ("--steps", "3", "--out", "runs/kl+steps=3+limit=8")
    assert ("--limit", "8") in zip(commands[1], commands[1][1:], strict=False)


def test_all_rows_are_every_rung_and_further_seeds_of_three(study, monkeypatch, commands):
    made: list[tuple[str, int]] = []
    monkeypatch.setattr(study, "row", lambda rung, seed, options: made.append((rung.name, seed)))
    main(study, monkeypatch, "all")
    assert len(made) == len(set(made)) == 14
    assert [name for name, seed in made if not seed] == [rung.name for rung in study.RUNGS]
    assert len({name for name, seed in made if seed}) == 3


def test_a_seed_below_zero_is_refused(study, monkeypatch, commands, capsys):
    with pytest.raises(SystemExit):
        main(study, monkeypatch, "row", "fsq", "--seed", "-1")
    assert "--seed must be at least 0" in capsys.readouterr().err
    assert not commands
