"""Weight files: safe to open, unwrapped by rule, loaded strictly, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tokbench.errors import TokbenchError
from tokbench.plugins import import_class
from tokbench.tokenizers import zoo
from tokbench.tokenizers.family import Family
from tokbench.tokenizers.vqvae.model import VQVAE
from tokbench.weights.checkpoints import (
    DoesNotFit,
    load_strictly,
    read_state,
    save_weights,
    sha256,
)
from tokbench.weights.entries import module_state
from tokbench.weights.likeness import looks_like, nearest
from tokbench.weights.torchfile.words import Inert
from tokbench.weights.weight_files import open_file


@pytest.fixture
def state() -> dict[str, Tensor]:
    return {"weight": torch.randn(3, 2), "bias": torch.randn(3)}


@pytest.fixture
def linear() -> nn.Linear:
    return nn.Linear(2, 3)


def refusal(model: nn.Module, state: dict[str, Tensor]) -> str:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(TokbenchError) as error:
        load_strictly(model, state, origin="file.pt")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    return str(error.value)


def test_missing_unknown_and_misshaped_keys_are_named_at_once(linear: nn.Linear) -> None:
    text = refusal(linear, {"weight": torch.zeros(3, 3), "offset": torch.zeros(3)})
    assert text == (
        "file.pt does not fit Linear: 1 missing: bias; 1 unknown: offset; 1 of another shape: weight. Is it of another variant?"
    )


def test_only_the_first_ten_keys_are_named(linear: nn.Linear, state: dict[str, Tensor]) -> None:
    text = refusal(linear, state | {f"extra{i:02d}": torch.zeros(1) for i in range(12)})
    assert "12 unknown: extra00, " in text
    assert "extra09, ..." in text
    assert "extra10" not in text


def test_names_of_a_file_are_fit_for_a_terminal(linear: nn.Linear, state: dict[str, Tensor]) -> None:
    assert r"1 unknown: 'a\x1b[2J'" in refusal(linear, state | {"a\x1b[2J": torch.zeros(1)})


@pytest.mark.parametrize("dtype", [torch.float8_e5m2, torch.float8_e4m3fn])
def test_values_of_8_bits_are_checked_and_loaded(linear: nn.Linear, state: dict[str, Tensor], dtype: torch.dtype) -> None:
    load_strictly(linear, {key: value.to(dtype) for key, value in state.items()}, origin="file.pt")
    assert torch.equal(linear.bias.detach(), state["bias"].to(dtype).float())
    state["bias"][1] = float("nan")
    assert "NaN or infinity in 1 tensors: bias" in refusal(linear, {key: value.to(dtype) for key, value in state.items()})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(linear: nn.Linear, state: dict[str, Tensor], value: float) -> None:
    state["bias"][1] = value
    assert refusal(linear, state) == "file.pt holds NaN or infinity in 1 tensors: bias; the file is damaged or training diverged"


def test_the_model_keeps_its_precision(linear: nn.Linear, state: dict[str, Tensor]) -> None:
    load_strictly(linear, {key: value.half() for key, value in state.items()}, origin="file.pt")
    assert linear.weight.dtype == torch.float32
    torch.testing.assert_close(linear.weight.detach(), state["weight"], atol=1e-2, rtol=0)


def test_round_trip(tmp_path: Path, small_vqvae: VQVAE) -> None:
    path = tmp_path / "deeper" / "model.safetensors"
    digest = save_weights(small_vqvae.state_dict(), path, about={"steps": 3})
    state, read_digest = read_state(path)
    assert digest == read_digest == sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    other = VQVAE(small_vqvae.config)
    load_strictly(other, state, origin=path.name)
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in small_vqvae.state_dict().items())
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["tokbench"]) == {"steps": 3}


def test_equal_weights_give_equal_files(tmp_path: Path, state: dict[str, Tensor]) -> None:
    first = save_weights(state, tmp_path / "a.safetensors", about={"a": 1, "b": 2})
    second = save_weights(dict(reversed(state.items())), tmp_path / "b.safetensors", about={"b": 2, "a": 1})
    assert first == second


def test_half_precision_on_disk_concerns_floats_only(tmp_path: Path) -> None:
    save_weights({"w": torch.ones(2), "n": torch.tensor(70000)}, tmp_path / "w.safetensors", about={}, dtype=torch.float16)
    state, _ = read_state(tmp_path / "w.safetensors")
    assert state["w"].dtype == torch.float16
    assert state["n"].item() == 70000


def test_transposed_and_sliced_tensors_can_be_saved(tmp_path: Path) -> None:
    table = torch.arange(6.0).reshape(2, 3)
    save_weights({"w": table.T, "v": table[:, 1]}, tmp_path / "w.safetensors", about={})
    state, _ = read_state(tmp_path / "w.safetensors")
    assert torch.equal(state["w"], table.T)
    assert state["v"].tolist() == [1.0, 4.0]


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state, "epoch": 3, "lr": [1e-3]}])
def test_pytorch_files(tmp_path: Path, state: dict[str, Tensor], wrap) -> None:
    torch.save(wrap(state), tmp_path / "model.pt")
    read, digest = read_state(tmp_path / "model.pt")
    assert digest == sha256(tmp_path / "model.pt")
    assert read.keys() == state.keys()
    assert torch.equal(read["weight"], state["weight"])


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("kind", ["zip", "legacy", "bare"])
def test_code_in_a_file_is_not_run(tmp_path: Path, state: dict[str, Tensor], kind: str) -> None:
    path, target = tmp_path / "model.pt", tmp_path / "gotcha"
    content = {"state_dict": state, "bomb": Bomb(target)}
    if kind == "bare":
        path.write_bytes(pickle.dumps(Bomb(target), protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(TokbenchError, match=r"model.pt is not a readable PyTorch file of plain tensors \(.+\); convert it to safetensors"):
        read_state(path)
    assert not target.exists()
    torch.load(path, weights_only=False) if kind != "bare" else pickle.loads(path.read_bytes())
    assert target.exists()  # the file was indeed armed


def test_a_truncated_safetensors_file(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "model.safetensors"
    save_file(state, path)
    data = path.read_bytes()
    for length in (0, 5, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(
            TokbenchError, match=r"model.safetensors (is not a readable safetensors file .* truncated|holds no weights: it is empty)"
        ):
            read_state(path)


def test_noise_in_a_safetensors_file_is_an_error_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(nn.Linear(5, 3).state_dict(), path)
    data = path.read_bytes()
    kept, refused = 0, []
    for seed in range(200):
        choice = random.Random(seed)
        changed = bytearray(data)
        for _ in range(choice.randrange(1, 4)):
            changed[choice.randrange(len(data))] = choice.randrange(256)
        path.write_bytes(changed)
        try:
            kept += len(read_state(path)[0])
        except TokbenchError as error:
            refused.append(str(error))
    assert kept
    assert refused
    assert all(text.startswith(f"{path} is not a readable safetensors file (") for text in refused)


def test_a_truncated_pytorch_file(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "model.pt"
    torch.save(state, path)
    data = path.read_bytes()
    for length in (0, 5, len(data) // 2):
        path.write_bytes(data[:length])
        with pytest.raises(TokbenchError, match=r"model\.pt (is not a readable PyTorch file|holds no weights: it is empty)"):
            read_state(path)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.pt", tmp_path):
        with pytest.raises(TokbenchError, match=rf"no weights file at {path}; give a .safetensors or .pt file"):
            read_state(path)


@pytest.mark.parametrize("content", [{}, {"a": 1}, [torch.zeros(1)], {"state_dict": {"a": "b"}}])
def test_a_file_that_holds_no_state(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(TokbenchError, match="holds no plain mapping of names to tensors"):
        read_state(tmp_path / "model.pt")


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    digest = save_weights(state, path, about={})

    def fail(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(TokbenchError, match="disk full"):
        save_weights({"weight": torch.zeros(1)}, path, about={})
    assert os.listdir(tmp_path) == ["model.safetensors"]
    assert sha256(path) == digest


# ---- pickled modules


MODULES = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, 2))
        self.b = nn.Parameter(torch.randn(3))
        self.register_parameter("none", None)
        self.register_buffer("steps", torch.tensor(3))
        self.register_buffer("hidden", torch.tensor(4), persistent=False)

class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(Block(), nn.ReLU(), Block())
        self.again = self.blocks[0]
        self.absent = None
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.register_forward_hook(hook)

def hook(*args):
    pass
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "modules_of_others.py").write_text(MODULES)
    monkeypatch.syspath_prepend(str(tmp_path))
    import modules_of_others  # type: ignore[import-not-found]

    yield modules_of_others
    sys.modules.pop("modules_of_others", None)


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize("entry", [None, "model"])
def test_a_pickled_module_whose_class_is_gone(modules: Any, tmp_path: Path, kind: str, entry: str | None) -> None:
    whole, path = modules.Whole(), tmp_path / "encoder.pkl"
    torch.save({entry: whole} if entry else whole, path, _use_new_zipfile_serialization=kind == "zip")
    expected = whole.state_dict()
    del sys.modules["modules_of_others"]
    (tmp_path / "modules_of_others.py").unlink()
    state, _ = read_state(path)
    assert list(state) == list(expected)
    assert all(torch.equal(value, expected[key]) for key, value in state.items())


def test_objects_that_are_no_modules() -> None:
    module = Inert("a.Module", {"_modules": {}, "_parameters": {}})
    assert module_state(module) == {}
    assert module_state(Inert("argparse.Namespace", {"lr": 1})) is None
    assert module_state(Inert("a.Odd", [1])) is None
    assert isinstance(module.state, dict)
    module.state["_modules"] = {"again": module, "odd": 3}
    assert module_state(module) is None
    module.state["_modules"] = {str(index): module for index in range(50)}
    assert module_state(module) is None


# ---- whole files


@pytest.fixture
def taming(goldens: Path) -> dict[str, Tensor]:
    with safe_open(goldens / "taming" / "state_dict.safetensors", framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def test_safetensors_under_another_suffix(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_file(state, tmp_path / "model.bin")
    assert open_file(tmp_path / "model.bin").format == "safetensors"
    assert torch.equal(read_state(tmp_path / "model.bin")[0]["weight"], state["weight"])


# ---- which variant is it?


def meta_state(name: str) -> dict[str, Tensor]:
    family, variant = zoo.resolve(name)
    with torch.device("meta"):
        return import_class(family.model)(variant.config).state_dict()


@pytest.fixture
def small_families(small_vqvae: VQVAE) -> tuple[Family, ...]:
    family, variant = zoo.resolve("vqvae/tiny")
    config = small_vqvae.config
    rows = tuple(
        replace(variant, name=name, config=replace(config, quantizer=replace(config.quantizer, codebook_size=size)))
        for name, size in (("a", 16), ("b", 32), ("same", 16))
    )
    odd = replace(family, name="odd", model="tokbench.tokenizers.vqvae.model:nothing", variants=rows[:1])
    broken = replace(family, name="broken", variants=(replace(variant, name="c", config=zoo.resolve("pixel/rgb")[1].config),))
    return odd, broken, replace(family, name="good", variants=rows)


def test_the_nearest_variants(small_vqvae: VQVAE, small_families: tuple[Family, ...]) -> None:
    state = small_vqvae.state_dict()
    near = nearest(state, zoo.candidates(small_families))
    assert near[:2] == [("good/a", 1.0), ("good/same", 1.0)]
    assert near[2] == ("good/b", pytest.approx(1 - 1 / len(state)))
    assert looks_like(state, zoo.candidates(small_families)) == "It looks like good/a or good/same."
    del state["decoder.conv_out.bias"]
    assert looks_like(state, zoo.candidates(small_families)) == "It looks like good/a or good/same, where 99% of names and shapes agree."
    assert nearest({}, zoo.candidates(small_families)) == []
    assert looks_like({"clusters": torch.zeros(3, 3)}, zoo.candidates(small_families)) == ""
    assert looks_like(state, ()) == ""


def test_loading_weights_of_another_variant_names_it(small_vqvae: VQVAE, small_families: tuple[Family, ...], tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(small_vqvae.state_dict(), path, about={})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo, "families", lambda: {family.name: family for family in small_families})
        with pytest.raises(
            DoesNotFit, match=r"w\.safetensors does not fit VQVAE: 1 of another shape: quantize.*looks like good/a or good/same\.$"
        ):
            zoo.load("good/b", weights=path)
        assert zoo.load("good/same", weights=path).name == "good/same"
        state = small_vqvae.state_dict()
        state["decoder.conv_out.bias"][0] = float("nan")
        save_weights(state, path, about={})
        with pytest.raises(
            TokbenchError, match=r"holds NaN or infinity in 1 tensors: decoder.conv_out.bias; the file is damaged or training diverged$"
        ):
            zoo.load("good/a", weights=path)


def test_every_variant_of_the_zoo_is_its_own_nearest() -> None:
    families = zoo.families()
    for name in ("vqvae/tiny", "vae/tiny", "pixel/palette-512", "flowmo/lo"):
        state = meta_state(name)
        assert name in [found for found, share in nearest(state, zoo.candidates([families[name.split("/")[0]]])) if share == 1]
