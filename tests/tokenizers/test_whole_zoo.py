"""The zoo as a whole: every name has its facts, is shown, builds without memory, and refuses weights of another with the right hint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from rich.console import Console

from tokbench.commands.zoo import show
from tokbench.errors import TokbenchError
from tokbench.tokenizers import zoo
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.listed import Listed, listed
from tokbench.tokenizers.sizes import FILE, size_of, written
from tokbench.weights import likeness
from tokbench.weights.likeness import Candidate
from tokbench.weights.obtain import weights_path

ROOT = Path(__file__).parents[2]
LEAST_PUBLISHED = 110
WRONG, OTHER = "vqvae/scenes", "vqvae/tiny"
"""Whose weights the others shall refuse, a network that no other row has, and whose it shall refuse itself."""


@pytest.fixture(scope="module")
def built(script: Callable[[str], ModuleType]) -> dict[str, Tokenizer]:
    """Every tokenizer of the zoo, once, without a value in memory."""
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    make = script("docs/sizes.py").without_memory
    return {name: make(name) for name in zoo.names()}


def of_others(row: Listed) -> bool:
    """Whether a row is of weights that others published, and not of any model of a library."""
    own = row.weights in ("embedded", "none needed")
    return not own and not row.variant.licence.startswith("its own")


def test_there_are_enough_published_ones() -> None:
    assert sum(map(of_others, listed())) >= LEAST_PUBLISHED


def test_every_row_has_its_facts() -> None:
    for row in listed():
        facts = row.facts()
        assert facts["tokens_per_image"] > 0, row.name
        assert (facts["bits_per_image"] is None) == (not facts["codebook_sizes"]) == bool(facts["channels"]), row.name
        assert facts["licence"], row.name
        assert facts["source"], row.name
        assert facts["bytes"] >= 4 * facts["parameters"] >= 0, row.name
        assert facts["parameters"] > 0 or row.family.name in ("pixel", "patch"), row.name


def test_sizes_are_those_of_the_shapes(script: Callable[[str], ModuleType], built: dict[str, Tokenizer]) -> None:
    sizes = script("docs/sizes.py")
    measured = {name: sizes.measured(model) for name, model in built.items()}
    assert {name: size_of(name) for name in built} == measured, "run make sizes"
    assert (ROOT / "tokbench" / "tokenizers" / FILE).read_text() == written(measured), "run make sizes"


def test_every_one_builds_without_memory_and_in_the_layout_of_its_row(built: dict[str, Tokenizer]) -> None:
    for row in listed():
        model, side = built[row.name], row.variant.image_size
        assert all(value.is_meta for value in model.state_dict().values()), row.name
        assert model.config == row.variant.config, row.name
        assert model.layout(side, side) == row.layout, row.name
        assert side % model.stride == 0, row.name


def test_every_one_takes_other_sizes_or_says_which_it_takes(built: dict[str, Tokenizer]) -> None:
    padded, fixed = set(), {}
    for row in listed():
        model, side, stride = built[row.name], row.variant.image_size, built[row.name].stride
        for height, width in ((side + 1, 2 * side + 3), (stride, 3 * stride), (1, stride + 1), (2 * side, side)):
            try:
                layout = model.layout(height, width)
            except TokbenchError as error:
                fixed[row.name] = str(error).replace(f"image size {height}x{width} does not fit: ", "")
                continue
            assert layout.grid == (-(-height // stride), -(-width // stride)), row.name
            assert layout.padded_size == (layout.grid[0] * stride, layout.grid[1] * stride), row.name
            padded.add(row.name)
        said = row.facts()["image_sizes"]
        assert said == f"{side}x{side}" if row.name in fixed else said.startswith("any"), row.name
        assert f"{side}x{side} (--size {side}" in fixed.get(row.name, f"{side}x{side} (--size {side}"), row.name
    assert not padded & fixed.keys()
    assert len(padded) > 90
    assert {name.partition("/")[0] for name in fixed} == {"bsq", "detok", "flowmo", "infinity", "maetok", "rae", "softvq", "titok", "var"}


def test_every_one_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr(
        "tokbench.commands.zoo.out", Console(width=400)
    )  # that of the module may still hold what a test before it left there
    for row in listed():
        show(row.name)
        out = capsys.readouterr().out
        assert out.startswith(f"{row.name}  {row.variant.summary}\n"), row.name
        assert f"licence           {row.variant.licence}\n" in out, row.name
        assert f"source            {row.variant.source}\n" in out, row.name
        assert out.count("\npublished ") == len(row.facts()["published"]), row.name


@pytest.fixture
def quick_hints(built: dict[str, Tokenizer], monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare tensors with networks that are built already, and the same names and shapes once."""
    known: dict[object, str] = {}
    compare = likeness.looks_like

    def once(state: dict[str, torch.Tensor], candidates: object, *, wholly: bool = False) -> str:
        key = wholly, tuple((name, tuple(value.shape)) for name, value in sorted(state.items()))
        if key not in known:
            known[key] = compare(state, [Candidate(name, lambda model=model: model) for name, model in built.items()], wholly=wholly)  # type: ignore[misc]
        return known[key]

    monkeypatch.setattr(likeness, "looks_like", once)


@pytest.mark.usefixtures("quick_hints")
def test_every_one_refuses_the_weights_of_another_and_says_whose_they_are(built: dict[str, Tokenizer]) -> None:
    wrong = {}
    for name, model in built.items():
        whose = WRONG if name != WRONG else OTHER
        with pytest.raises(TokbenchError) as caught:
            zoo.load_weights(model, weights_path(zoo.resolve(whose)[1]))
        hint = str(caught.value).partition("looks like ")[2] if model.state_dict() else str(caught.value)
        if (whose if model.state_dict() else "has no weights, so it takes none") not in hint:
            wrong[name] = str(caught.value)
    assert wrong == {}


def test_a_hint_counts_those_of_the_same_shapes_that_it_does_not_name(built: dict[str, Tokenizer]) -> None:
    vaes = {name: model for name, model in built.items() if name.startswith("vae/")}
    shapes = {name: {key: value.shape for key, value in model.state_dict().items()} for name, model in vaes.items()}
    same = sorted(name for name, found in shapes.items() if found == shapes["vae/sdxl"])
    hint = likeness.looks_like(vaes["vae/sdxl"].state_dict(), [Candidate(name, lambda model=model: model) for name, model in vaes.items()])  # type: ignore[misc]
    assert len(same) > 4
    assert hint == f"It looks like {' or '.join([*same[:3], f'{len(same) - 3} more'])}."
