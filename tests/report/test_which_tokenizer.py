"""The study of tokenizers: its tables come of records alone, and say what is undetermined."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tokbench.records.lm_store import find_lm_records, write_lm_record
from tokbench.records.store import read_rows

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def study(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("benchmarks/which_tokenizer.py")


def test_without_records_nothing_was_measured(study: ModuleType, tmp_path: Path) -> None:
    assert study.tables(tmp_path / "none") == study.tables(tmp_path) == study.NOTHING


@pytest.mark.parametrize("count", [1, 4])
def test_rows_and_ranks_come_of_records(study: ModuleType, tmp_path: Path, count: int) -> None:
    path, record = next((path, one) for path, one in find_lm_records([ROOT / "results" / "lm"]) if one.model.name == "pretrain")
    rows = read_rows(path)
    for number in range(count):
        name = f"some/tokenizer-{number}"
        shares = {key: np.clip(np.array(list(rows[key].values())) - 0.2 * number, 0, 1) for key in study.OUTCOMES if key in rows}
        own = {**rows, **{key: dict(zip(rows[key], values.tolist(), strict=True)) for key, values in shares.items()}}
        figures = {key: replace(record.figures[key], value=float(values.mean())) for key, values in shares.items()}
        one = replace(record, tokenizer=replace(record.tokenizer, name=name), figures={**record.figures, **figures})
        write_lm_record(replace(one, model=replace(record.model, name=f"model-{number}")), own, tmp_path / "64" / "images")
    text = study.tables(tmp_path)
    assert text.startswith("**64 px, equal sequences**")
    assert all(f"| some/tokenizer-{number} |" in text for number in range(count))
    assert ("rank correlation" in text) == (count > 2)


def test_rungs_of_one_name_are_rows_of_their_own(study: ModuleType, tmp_path: Path) -> None:
    path, record = next((path, one) for path, one in find_lm_records([ROOT / "results" / "lm"]) if one.model.name == "pretrain")
    for title, state in (("vq-ema", "0" * 64), ("bsq", "1" * 64), ("vqvae-tiny", "2" * 64)):
        one = replace(record, tokenizer=replace(record.tokenizer, name="vqvae/tiny", state_sha256=state))
        write_lm_record(replace(one, model=replace(record.model, name=f"{title}_images")), read_rows(path), tmp_path / "64" / "images")
    assert [line.split(" | ")[0] for line in study.tables(tmp_path).splitlines() if " | " in line][1:4] == [
        "| bsq",
        "| vq-ema",
        "| vqvae/tiny",
    ]


def test_a_picture_has_a_row_a_tokenizer(study: ModuleType, tmp_path: Path) -> None:
    results = ROOT / "results" / "which-tokenizer"
    rows = len(find_lm_records([results / "64" / "time"]))
    assert rows
    assert study.picture(results, 64, columns=2, enlarged=1).size == (124 + 2 * 68, (1 + rows) * 68)
    with pytest.raises(SystemExit, match="holds no examples"):
        study.picture(tmp_path, 64)


def test_every_setting_is_the_recipes(study: ModuleType) -> None:
    from tokbench.lm.recipes import adjusted, get_recipe

    assert adjusted(get_recipe("pretrain"), study.RECIPE).schedule == "constant"


def test_a_row_trains_once_for_both_budgets(study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def tokbench(*words: object) -> None:
        commands.append([str(word) for word in words])
        if "--out" in commands[-1]:
            Path(commands[-1][commands[-1].index("--out") + 1]).mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(study, "tokbench", tokbench)
    monkeypatch.setattr(study, "reference_seconds", lambda: 0.5)
    monkeypatch.setattr(
        study, "seconds_of", lambda *words: (tokbench(*words), 200.0 if str(1 + study.TIMED) in map(str, words) else 0.0)[1]
    )
    argv = ["which_tokenizer.py", "row", "vqvae/tiny", "--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    monkeypatch.setattr(sys, "argv", argv)
    study.main()
    once = len(commands)
    study.main()
    assert len(commands) == once, "what was done is not done again"
    trained = [words for words in commands if words[:2] == ["lm", "train"]]
    long = [words for words in trained if words[words.index("--steps") + 1] in ("360", "1000")]
    assert [words[words.index("--steps") + 1] for words in long] == ["360", "1000"]
    assert [words[-1] == "--resume" for words in long] == [False, True]
    assert [Path(words[2]).name for words in commands if words[:2] == ["lm", "evaluate"]] == ["vqvae-tiny_time", "vqvae-tiny_images"]
