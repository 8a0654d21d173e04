"""What is given empty or twice: refused in one line before anything is written, or counted once and said so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

NOTHING = {
    "--metrics": "--metrics takes names separated by commas, or all",
    "--figures": "--figures needs some of interpolation",
    "--columns": "columns of these records are",
    "--sizes": "--sizes takes sides of 1 to 8192 px",
    "--batches": "--batches takes whole numbers",
    "--modes": "--modes needs some of warm, compiled",
    "--lengths": "--lengths takes whole numbers",
    "--data": "does not exist",
    "--protocol": "unknown protocol",
    "-t": "unknown tokenizer",
    "--as": "unknown --as",
    "--weights": "--weights takes a file or folder",
    "--set": "--set takes KEY=VALUE",
    "--licence": "--licence takes the beginning of a word",
    "--device": "device '' cannot be used here",
    "--kind": "unknown --kind",
    "--task": "unknown task",
}
"""Options, and what is said where nothing stands behind them."""

SCORE = "score pictures pictures --out there"
RUN = "run -t pixel/rgb --data pictures --size 32 --out there"
PREDICT = "predict -t pixel --data pictures --size 32 --out there"


@pytest.mark.parametrize("given", ["", ",", " , "])
@pytest.mark.parametrize("command", [RUN, SCORE, "merge pictures --out there"])
def test_no_record_is_without_figures(tokbench_cli: Callable, folder: Path, command: str, given: str) -> None:
    status, out, err = tokbench_cli(*command.split(), "--metrics", given)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"{NOTHING['--metrics']}, such as --metrics psnr,lpips; got {given!r}" in err
    assert not Path("there").exists()


@pytest.mark.parametrize(
    ("command", "option"),
    [
        *((f"{RUN} --metrics psnr", option) for option in ("--lengths", "--data", "--protocol", "-t", "--weights", "--set", "--device")),
        *((f"{SCORE} --metrics psnr", option) for option in ("--protocol", "--device")),
        (PREDICT, "--figures"),
        *(("speed -t pixel --out there", option) for option in ("--sizes", "--batches", "--modes", "--weights")),
        ("export -t pixel --data pictures --out there", "--as"),
        ("list", "--licence"),
        ("plot pictures --out there", "--kind"),
        ("lm evaluate --out there", "--task"),
    ],
)
def test_nothing_is_no_value(tokbench_cli: Callable, folder: Path, command: str, option: str) -> None:
    words = command.split()
    if option in ("--data", "-t") or f"{option}=" in command:
        del words[words.index(option) : words.index(option) + 2]
    status, out, err = tokbench_cli(*words, option, "")
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert NOTHING[option] in err
    assert not Path("there").exists()


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("run", "-t", "pixel", "--out", ""), "--out"),
        (("run", "-t", "pixel", "--out="), "--out"),
        (("score", "pictures", "pictures", "--feature-weights", ""), "--feature-weights"),
        (("compare", ""), "PLACES"),
        (("report", "runs", ""), "PLACES"),
        (("merge", ""), "DIR..."),
        (("verify", ""), "DIR"),
        (("diff", "a", "--format", "csv", ""), "A"),
        (("explain", "a", "b", "--results", ""), "--results"),
        (("lm", "evaluate", ""), "MODEL"),
        (("lm", "generate", "", "--model", ""), "--model"),
    ],
)
def test_nothing_is_no_path(tokbench_cli: Callable, words: tuple[str, ...], name: str) -> None:
    """An empty variable of a shell does not mean the current folder."""
    status, out, err = tokbench_cli(*words)
    command = " ".join(words[:2] if words[0] == "lm" else words[:1])
    assert (status, out) == (2, "")
    assert err == f"tokbench: {name} takes a path, got ''; write . for the current folder. See: tokbench {command} --help\n"


def test_nothing_is_no_file_to_write(tokbench_cli: Callable) -> None:
    for words in (("lm", "generate", "a red circle", "-o", ""), ("report", "runs", "-o", "")):
        status, out, err = tokbench_cli(*words)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("tokbench: --output '.' ")


def test_an_empty_prompt_is_no_path(tokbench_cli: Callable) -> None:
    assert "takes a path, got ''" not in tokbench_cli("lm", "generate", "", "--prompts", "missing.txt")[2]


@pytest.mark.parametrize(
    "command",
    [
        f"{RUN} --metrics psnr",
        f"{PREDICT} --figures statistics",
        "speed -t pixel/rgb --sizes 8 --batches 1 --modes warm --rounds 1 --warmup 1 --out there",
    ],
)
def test_a_tokenizer_named_twice_is_measured_once(tokbench_cli: Callable, folder: Path, command: str) -> None:
    name = "pixel/rgb" if "pixel/rgb" in command else "pixel/palette-512"
    status, out, err = tokbench_cli(*command.split(), "-t", name, "-t", name, "--json")
    assert status == 0, err
    assert [record["tokenizer"]["name"] for record in json.loads(out)] == [name]
    assert f"--tokenizer names {name} again, which counts once\n" in err
    assert len(list(Path("there").glob("*.json"))) == 1


def test_a_tokenizer_is_known_by_its_family_too(tokbench_cli: Callable, folder: Path) -> None:
    status, out, err = tokbench_cli(*RUN.split(), "-t", "pixel", "-t", "pixel/palette-512", "--metrics", "psnr", "--json")
    assert status == 0, err
    assert [record["tokenizer"]["name"] for record in json.loads(out)] == ["pixel/rgb", "pixel/palette-512"]
    assert "--tokenizer names pixel/palette-512 again, which counts once\n" in err


def test_a_probe_of_a_tokenizer_named_twice_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from tokbench.commands import console

    said: list[str] = []
    monkeypatch.setattr(console, "say", said.append)
    assert console.once(["./mine/", "pixel", "mine", "@local", "pixel/palette-512", "pixel"]) == ["./mine/", "pixel", "@local"]
    assert said == ["--tokenizer names mine, pixel/palette-512, pixel again, which counts once"]
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert console.once(["pixel", "pixel"]) == ["pixel"]
    assert len(said) == 1, "one process says it"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "pictures", "--data", "pictures"), "are both called pictures"),
        (("--protocol", "rae", "--protocol", "rae"), "--protocol names rae twice; name every protocol once"),
    ],
)
def test_data_and_protocols_are_named_once(tokbench_cli: Callable, folder: Path, options: tuple[str, ...], message: str) -> None:
    status, out, err = tokbench_cli("run", "-t", "pixel/rgb", "--metrics", "psnr", "--out", "there", *options)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not Path("there").exists()


def test_a_metric_named_twice_is_one() -> None:
    from tokbench.bench.runner import metric_names

    assert metric_names("psnr, lpips,psnr,") == ("psnr", "lpips")
