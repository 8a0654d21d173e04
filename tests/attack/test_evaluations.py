"""Mutated records of language models, values by prompt and examples: shown, or refused in one line."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tokbench.records.examples import Example, write_examples
from tokbench.records.intervals import Interval
from tokbench.records.lm_record import EvaluationProtocol, EvaluationTiming, LanguageModelInfo, LanguageModelRecord
from tokbench.records.lm_store import write_lm_record
from tokbench.records.record import Environment, MetricResult, TokenizerInfo, TokensInfo

KEYS = ("prompt_attributes", "ceiling_attributes", "chance_attributes", "prompt_shape", "edit_change", "image_bits")


def _write(folder: Path) -> Path:
    """A record of three prompts with values and examples."""
    rows = {key: {f"test-{number}": number / 2 for number in range(3)} for key in KEYS}
    figures = {key: MetricResult(0.5, "share", True, interval=Interval(0.25, 0.75, "bootstrap")) for key in KEYS}
    record = LanguageModelRecord(
        LanguageModelInfo("small", "LlamaForCausalLM", 1000, "a" * 64, {"stages": [{"name": "pretrain", "steps": 1}]}),
        TokenizerInfo("vqvae/tiny", {}, None, 1),
        TokensInfo(64, 64, 640.0, 0.15625, (8, 8), (1024,)),
        EvaluationProtocol("scenes", "test", 3, 8, 0, ("generate",), {"temperature": 1.0, "top_k": None}, 3, 4),
        figures,
        EvaluationTiming("cpu", 1, 0.5, 1.0),
        Environment("0.2.0", "3.11", "Linux", "some", {}),
        "2027-01-01T00:00:00+00:00",
    )
    picture = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    examples = [Example("generate", f"test-{number}", "a red circle", right=picture, answer=picture + number) for number in range(3)]
    examples.append(Example("describe", "test-0", shown=(picture,), text="a circle"))
    return write_lm_record(record, rows, folder, pictures=lambda place: write_examples(examples, place))


@pytest.mark.filterwarnings("ignore")
def test_mutated_evaluations_are_shown_or_refused(trial: Callable, mutate: Callable, mutate_text: Callable) -> None:
    attack = trial("evaluations")
    for number, chance in attack:
        folder, page = attack.inside / "records", attack.inside / "page.html"
        shutil.rmtree(folder, ignore_errors=True)
        page.unlink(missing_ok=True)
        _write(folder)
        target = chance.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
        what = _damage(target, chance, mutate, mutate_text)
        words = (
            ["report", folder, "-o", page]
            if chance.random() < 0.7
            else ["compare", folder, "-f", chance.choice(["md", "json", "terminal"])]
        )
        with attack.case(f"{number} {target.name} {what[:60]!r} {words[0]}"):
            _, said = attack.command(*words)
            assert not set(attack.printed + said) & {"\x1b", "\x07", "\x9b", "\u202e"}
            if page.exists():
                text = page.read_text(encoding="utf-8")
                assert not set(text) & {"\x1b", "\x07", "\x9b", "\u202e"}
                assert text.count("<script") == 2
    attack.finish()


def _damage(target: Path, chance: random.Random, mutate: Callable, mutate_text: Callable) -> str:
    if chance.random() < 0.05:
        target.unlink()
        return "lost"
    what, data = mutate_text(target.read_text(), chance) if target.suffix == ".json" else mutate(target.read_bytes(), chance)
    target.write_bytes(data)
    return str(what)


def test_the_whole_evaluation_is_shown(trial: Callable) -> None:
    """An attack on a reader that refuses everything would show nothing."""
    attack = trial("evaluations")
    status, _ = attack.command("report", _write(attack.inside / "records").parent, "-o", attack.inside / "page.html")
    assert status == 0
    text = (attack.inside / "page.html").read_text(encoding="utf-8")
    assert text.count("data:image") == 7
