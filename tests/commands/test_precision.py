"""A remark on bf16 comes where the processor is known to have no arithmetic of it, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tokbench.cli import app
from tokbench.commands.precision import remark_on
from tokbench.train.recipes import RECIPES, KMeansRecipe

PLAIN = {"architecture": "x86_64", "avx2": True, "avx512_bf16": False, "amx_bf16": False}


class Done:
    """What a training says in the end."""

    finished, steps = True, 1

    def __init__(self, folder: Path) -> None:
        self.weights = folder / "weights.safetensors"


@pytest.mark.parametrize(
    ("precision", "device", "capabilities", "said"),
    [
        ("bf16", "cpu", PLAIN, True),
        ("fp32", "cpu", PLAIN, False),
        ("bf16", "cuda:0", PLAIN, False),
        ("bf16", "cpu", PLAIN | {"avx512_bf16": True}, False),
        ("bf16", "cpu", PLAIN | {"amx_bf16": True}, False),
        ("bf16", "cpu", {"architecture": "aarch64"}, False),
        ("bf16", "cpu", {}, False),
    ],
)
def test_only_a_processor_known_to_be_slow_is_spoken_of(
    precision: str,
    device: str,
    capabilities: dict[str, object],
    said: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    remark_on(precision, device, instead="--precision fp32")
    words = capsys.readouterr().err
    assert ("no bfloat16 arithmetic" in words and "--precision fp32" in words and words.count("\n") == 1) if said else not words


def test_a_torch_that_does_not_tell_is_no_reason_to_speak(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    remark_on("bf16", "cpu", instead="--precision fp32")
    assert not capsys.readouterr().err


def test_a_recipe_without_a_number_format_is_trained_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: PLAIN, raising=False)
    name = next(row.name for row in RECIPES if isinstance(row, KMeansRecipe))
    trained = []
    monkeypatch.setattr("tokbench.train.start.train_recipe", lambda recipe, *_, **__: trained.append(recipe) or Done(tmp_path))
    result = CliRunner().invoke(app, ["train", name, "--data", "scenes", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert [recipe.name for recipe in trained] == [name]
