"""Records of strangers through every command that reads them: shown, passed over, or refused in one line."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

RESULTS = Path(__file__).parents[2] / "results"
GOOD = RESULTS / "photos-64" / "vqgan-tiny_photos-64.json"
OTHER = RESULTS / "photos-64" / "vqvae-tiny_photos-64.json"

FORMS = ("terminal", "md", "csv", "latex", "json")
CONDITIONS = ("psnr<20", "lpips>0.15", "fd_efflite0>1e9")
CHANGES = ("psnr.change<-0.2", "lpips.change>0.05", "psnr<20")


def _mutated_rows(path: Path, chance: random.Random, mutate: Callable) -> tuple[str, bytes]:
    """The rows beside a record, with other types, ids, counts or columns, or damaged bytes."""
    if chance.random() < 0.4:
        return mutate(path.read_bytes(), chance)
    table = pq.read_table(path).slice(0, chance.choice([0, 1, 40, 736]))
    kind = chance.choice(["no id", "ids twice", "null ids", "texts", "infinite", "lists", "more", "names", "none", "booleans"])
    count = len(table)
    columns: dict[str, Any] = {name: table.column(name) for name in table.column_names}
    if kind == "no id":
        del columns["id"]
    elif kind == "ids twice":
        columns["id"] = pa.array(["a"] * count)
    elif kind == "null ids":
        columns["id"] = pa.nulls(count, pa.string())
    elif kind == "texts":
        columns["psnr"] = pa.array(["\x1b[31m"] * count)
    elif kind == "infinite":
        columns["psnr"] = pa.array([chance.choice([float("inf"), float("nan"), -float("inf"), 1e308])] * count)
    elif kind == "lists":
        columns["lpips"] = pa.array([[1.0]] * count, pa.list_(pa.float64()))
    elif kind == "more":
        columns = {name: pa.concat_arrays([*map(pa.array, [column.to_pylist() * 2])]) for name, column in columns.items()}
    elif kind == "names":
        columns["\x1b]0;x\x07<b>"] = columns.get("psnr", pa.nulls(count, pa.float64()))
    elif kind == "none":
        columns = {"id": columns["id"]}
    else:
        columns["psnr"] = pa.array([True] * count)
    data = io.BytesIO()
    pq.write_table(pa.table(columns), data)
    return f"rows {kind}", data.getvalue()


def _words(chance: random.Random, bad: Path, good: Path, plots: bool) -> tuple[list[object], str]:
    kind = chance.choice(["compare", "compare", "compare", "report", "diff", "diff", "gate", "gate diff", *(["plot"] if plots else [])])
    places: list[object] = [bad, good] if chance.random() < 0.5 else [bad.parent]
    if kind == "compare":
        more = chance.sample(["--intervals", "--mix", "--bold", "--published"], chance.randrange(4))
        sort = ["--sort", "psnr"] if chance.random() < 0.3 else []
        return ["compare", *places, "-f", chance.choice(FORMS), *more, *sort], kind
    if kind == "report":
        return ["report", *places, "--images", 0, "-o", "page.html"], kind
    if kind == "plot":
        draw = ["--kind", chance.choice(["rate", "encode", "codebook", "images"])]
        return ["plot", *places, "-f", "svg", "--out", "plots", *draw], kind
    if kind == "gate":
        return ["compare", *places, "--fail-if", chance.choice(CONDITIONS), "--gate-report", f"gate.{chance.choice(['xml', 'json'])}"], kind
    two = [bad, good] if chance.random() < 0.5 else [good, bad]
    gate = ["--fail-if", chance.choice(CHANGES), "--gate-report", "gate.xml"] if kind == "gate diff" else []
    return ["diff", *two, "-f", chance.choice(FORMS), *gate], kind


ESCAPES = ("\x1b", "\x07", "\x9b", "\u202e")


@pytest.mark.filterwarnings("ignore")
def test_mutated_records_are_shown_or_refused(trial: Callable, mutate: Callable, mutate_text: Callable) -> None:
    attack = trial("records")
    folder, elsewhere = attack.inside / "records", attack.inside / "good"
    elsewhere.mkdir()
    good = elsewhere / "good.json"
    shutil.copy(OTHER, good)
    shutil.copy(OTHER.with_suffix(".parquet"), good.with_suffix(".parquet"))
    probes = sorted((RESULTS / "probe-photos-64").glob("*.json"))
    for number, chance in attack:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        bad = folder / "bad.json"
        origin = chance.choice(probes) if chance.random() < 0.2 else GOOD
        text = origin.read_text()
        rows = origin.with_suffix(".parquet")
        what = ""
        if chance.random() < 0.75 or not rows.is_file():
            what, data = mutate_text(text, chance)
            bad.write_bytes(data)
            if rows.is_file() and chance.random() < 0.8:
                shutil.copy(rows, bad.with_suffix(".parquet"))
        else:
            bad.write_text(text)
            what, data = _mutated_rows(rows, chance, mutate)
            bad.with_suffix(".parquet").write_bytes(data)
        words, kind = _words(chance, bad, good, plots=chance.random() < 0.15)
        with attack.case(f"{number} {origin.name[:20]} {what[:60]!r} {kind} {' '.join(map(str, words[-3:]))[-60:]}"):
            _, said = attack.command(*words)
            printed = attack.printed + said
            assert not any(mark in printed for mark in ESCAPES), f"escapes: {printed[:100]!r}"
        page = attack.inside / "page.html"
        if page.exists():
            with attack.case(f"{number} page"):
                assert "<b>" not in page.read_text() or what.find("<b>") < 0
                page.unlink()
    attack.finish()


SPECIAL = ("folder", "pipe", "loop", "dangling", "device", "empty")


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("command", ["compare", "report", "diff", "plot"])
def test_what_is_no_file_is_no_record(kind: str, command: str, trial: Callable) -> None:
    attack = trial("records")
    (attack.inside / "records").mkdir()
    bad = attack.inside / "records" / "x.json"
    if kind == "folder":
        bad.mkdir()
    elif kind == "pipe":
        os.mkfifo(bad)
    elif kind == "loop":
        bad.symlink_to(bad)
    elif kind == "dangling":
        bad.symlink_to("nowhere.json")
    elif kind == "device":
        bad.symlink_to("/dev/zero")
    else:
        bad.touch()
    shutil.copy(GOOD, attack.inside / "records" / "a.json")
    more = {"diff": [GOOD], "report": ["--images", 0], "plot": ["--kind", "rate", "-f", "svg"]}.get(command, [])
    for place in (bad, bad.parent):
        with attack.case(f"{kind} {command} {place.name}"):
            attack.command(command, place, *more)
    attack.finish()


def test_the_good_records_are_shown(trial: Callable, mutate_json: Callable) -> None:
    """An attack on commands that refuse everything would show nothing."""
    attack = trial("records")
    for words in (["compare", GOOD, OTHER], ["diff", GOOD, OTHER], ["report", GOOD, "--images", 0]):
        assert attack.command(*words)[0] == 0
    what, value = mutate_json(json.loads(GOOD.read_text()), random.Random(1))
    assert what
    assert value != json.loads(GOOD.read_text())
