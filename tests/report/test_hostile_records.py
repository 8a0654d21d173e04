"""Records, rows and folders of strangers: whatever they hold, every command that reads them answers in words and puts no escape anywhere."""

import copy
import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tokbench.configs import plain
from tokbench.records.figure_info import FigureInfo
from tokbench.records.record import MetricResult

ROOT = Path(__file__).parents[2] / "results"
RUNS = [ROOT / "photos-64" / f"{name}.json" for name in ("vqgan-tiny_photos-64", "vae-tiny_photos-64", "anchor-webp-320_photos-64")]
PROBES = sorted((ROOT / "probe-photos-64").rglob("*_photos-64.json"))[:2]

ESCAPES = "\x1b[31mred\x1b]0;title\x07\x9b31m\r\n\u202eevil\u2066\u200b\u2028\ud800\x00"
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""What may stand in no output: controls but tab and newline, direction and zero-width characters, halves of characters."""

RAW = {"LONG": "9" * 5000, "-LONG": "-" + "9" * 5000, "HUGE": "1e999", "DIGITS": "0." + "3" * 5000, "DEEP": "[" * 3000 + "]" * 3000}
"""What Python writes no JSON for: its words are replaced by these in the text."""

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63 - 1, -(2**63), 10**18, 0.5, -0.0, 1e-320, 1e308, -1e308, 5e-324),
    *(
        "",
        " ",
        "inf",
        "-inf",
        "nan",
        "NaN",
        "1",
        "text",
        "$\\frac{",
        "a|b",
        "<script>alert(1)</script>",
        "=1+1",
        "%s{0}[/bold]",
        ESCAPES,
        "x" * 100_000,
    ),
    *([], {}, [[]], [None], [{}], {"": None}, {"a": {"b": {"c": []}}}, {ESCAPES: ESCAPES}, ["inf"] * 3, [0] * 50),
    *(f"RAW {name}" for name in RAW),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to everything inside a JSON value, at most three of a list."""
    inside = value.items() if isinstance(value, dict) else list(enumerate(value))[:3] if isinstance(value, list) else ()
    for key, item in inside:
        yield (*path, key)
        yield from places(item, (*path, key))


def mutated(values: Any, rng: random.Random) -> bytes:
    """JSON with one to three changes: values of other types and sizes, without a part, renamed keys; or a text that is cut or disturbed."""
    values = json.loads(json.dumps(values))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        path = rng.choice([path for path in places(values)])
        holder = values
        for key in path[:-1]:
            holder = holder[key]
        kind = rng.choice(("alike", "alike", "alike", "replace", "replace", "remove", "rename", "wrap"))
        if kind == "replace":
            holder[path[-1]] = copy.deepcopy(rng.choice(VALUES))
        elif kind == "alike":
            holder[path[-1]] = copy.deepcopy(rng.choice([value for value in VALUES if type(value) is type(holder[path[-1]])] or [None]))
        elif kind == "wrap":
            holder[path[-1]] = rng.choice(([holder[path[-1]]], {"value": holder[path[-1]]}))
        elif isinstance(holder, dict):
            item = holder.pop(path[-1])
            if kind == "rename":
                holder[rng.choice((ESCAPES, f"{path[-1]} ", "", "psnr", "bpp", "$x_{", "a,b\n=c"))] = item
        else:
            del holder[path[-1]]
    text = re.sub(r'"RAW ([^"]*)"', lambda match: RAW[match[1]], json.dumps(values))
    data = bytearray(text.encode())
    kind = rng.choice(("whole",) * 8 + ("cut", "bytes", "bom", "utf-16"))
    if kind == "cut":
        del data[rng.randrange(len(data)) :]
    elif kind == "bytes":
        for _ in range(3):
            data[rng.randrange(len(data))] = rng.randrange(256)
    return b"\xef\xbb\xbf" + bytes(data) if kind == "bom" else text.encode("utf-16") if kind == "utf-16" else bytes(data)


def with_own_figure(values: Any) -> Any:
    """A record of a run that also has a figure of others, with the row that says how it is shown: as hostile as a row can be."""
    if "metrics" in values:
        info = FigureInfo(
            "mine", "mine $\\frac{ a|b", "1", False, "<script>alert(1)</script>", digits=2, symbol="&$", axis="log", leading=True
        )
        values["metrics"]["mine"] = plain(MetricResult(0.25, "1", False, info=info))
    return values


def commands(rng: random.Random, one: Path, other: Path, folder: Path) -> list[Any]:
    """Some call that reads both files."""
    gates = ("--fail-if", rng.choice(("psnr<20", "lpips>0.5", "bpp>1", "decode<1")))
    compare = ["compare", *rng.choice(((folder,), (one, other))), "--format", rng.choice(("md", "csv", "latex", "json", "terminal"))]
    compare += [option for option in ("--bold", "--intervals", "--mix", "--published") if rng.random() < 0.4]
    compare += rng.choice(([], [], gates, (*gates, "--gate-report", folder / "gate.xml"), ("--sort", "psnr"), ("--columns", "psnr,bpp")))
    diff = ["diff", *rng.sample((one, other), 2), "--format", rng.choice(("md", "csv", "latex", "json", "terminal"))]
    diff += rng.choice(([], ("--fail-if", "psnr.change<-0.2", "--gate-report", folder / "gate.json")))
    report = ["report", folder, "-o", folder / "page.html", "--images", "0"]
    plot = [
        "plot",
        folder,
        "--out",
        folder / "plots",
        "--format",
        rng.choice(("png", "svg")),
        "--kind",
        rng.choice(("rate", "decode", "codebook", "images")),
    ]
    return rng.choices((compare, diff, report, plot), (10, 5, 3, 2))[0]


def checked(result: tuple[int, str, str], page: Path, called: Any) -> int:
    """Its status, after a look at what it said and wrote."""
    status, out, err = result
    assert status in (0, 1, 2), called
    assert "Traceback" not in err, called
    if status == 2:
        *notes, last = err.splitlines()
        assert last.startswith("tokbench: "), (called, err)
        assert len(notes) <= 2, (called, err)
    for text in (out, err, page.read_text() if page.exists() else ""):
        assert not FORBIDDEN.search(text), (called, FORBIDDEN.search(text), text[max(0, FORBIDDEN.search(text).start() - 80) :][:200])
    page.unlink(missing_ok=True)
    return status


def drive(tokbench_cli: Callable[..., tuple[int, str, str]], folder: Path, numbers: range) -> dict[int, int]:
    """Call commands on a mutated record beside a whole one; returns how often each status came."""
    found: dict[int, int] = {}
    for number in numbers:
        rng = random.Random(number)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        subject = rng.choice((*RUNS, *RUNS, *PROBES))
        one, other = folder / "one.json", folder / "other.json"
        one.write_bytes(mutated(with_own_figure(json.loads(subject.read_text())), rng))
        whole = rng.choice(RUNS)
        shutil.copy(whole, other)
        shutil.copy(whole.with_suffix(".parquet"), other.with_suffix(".parquet"))
        if subject.with_suffix(".parquet").exists() and rng.random() < 0.7:
            shutil.copy(subject.with_suffix(".parquet"), one.with_suffix(".parquet"))
        call = commands(rng, one, other, folder)
        try:
            status = checked(tokbench_cli(*call), folder / "page.html", (number, call))
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(f"number {number}, {call}: {type(error).__name__} {error}") from error
        found[status] = found.get(status, 0) + 1
    return found


def test_mutated_records_are_met_in_words(tokbench_cli, tmp_path):
    found = drive(tokbench_cli, tmp_path / "runs", range(30))
    assert min(found[0], found[2]) > 3


@pytest.mark.slow
def test_many_mutated_records_are_met_in_words(tokbench_cli, tmp_path):
    found = drive(tokbench_cli, tmp_path / "runs", range(100, 1100))
    assert min(found[0], found[2]) > 100


def test_a_title_of_others_is_shown_as_it_stands(tokbench_cli, tmp_path):
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "one.json").write_text(json.dumps(with_own_figure(json.loads(RUNS[0].read_text()))))
    assert r"| mine $\frac{ a\|b &amp;$ ↓ |" in tokbench_cli("compare", runs, "--format", "md")[1]
    for call in (
        ["report", runs, "-o", runs / "page.html", "--images", "0"],
        ["plot", runs, "--out", runs, "--format", "svg", "--kind", "rate"],
    ):
        assert checked(tokbench_cli(*call), tmp_path / "none", call) == 0
    assert "<script>alert(1)" not in (runs / "page.html").read_text()
    assert (runs / "rate-mine.svg").exists()
