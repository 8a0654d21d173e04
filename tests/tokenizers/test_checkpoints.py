"""Weight files: safe to open, loaded strictly, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tokbench.errors import TokbenchError
from tokbench.tokenizers.checkpoints import load_strictly, read_state, save_weights, sha256
from tokbench.tokenizers.vqvae.model import VQVAE


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
        with pytest.raises(TokbenchError, match=r"model.safetensors is not a readable safetensors file .* truncated"):
            read_state(path)


def test_a_truncated_pytorch_file(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "model.pt"
    torch.save(state, path)
    data = path.read_bytes()
    for length in (0, 5, len(data) // 2):
        path.write_bytes(data[:length])
        with pytest.raises(TokbenchError, match=r"model\.pt is not a readable PyTorch file"):
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
    with pytest.raises(OSError, match="disk full"):
        save_weights({"weight": torch.zeros(1)}, path, about={})
    assert os.listdir(tmp_path) == ["model.safetensors"]
    assert sha256(path) == digest
