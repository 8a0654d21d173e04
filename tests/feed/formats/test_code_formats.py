"""Codes for LlamaGen and RAR, and latents with their statistics, read as the code of those trainers reads them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from tests.feed.formats.pieces import COUNT, Bare, Partly, exported
from tokbench.errors import TokbenchError
from tokbench.feed import TokenDataset, write_format


def test_llamagen_files_are_one_of_codes_and_one_of_labels_an_image(tokens: Path) -> None:
    folder, rows = write_format(tokens, "llamagen"), TokenDataset(tokens)
    codes, labels = folder / "imagenet8_codes", folder / "imagenet8_labels"
    names = {f"{number}.npy" for number in range(COUNT)}
    assert {path.name for path in codes.iterdir()} == {path.name for path in labels.iterdir()} == names
    for number in range(COUNT):
        values, label = np.load(codes / f"{number}.npy"), np.load(labels / f"{number}.npy")
        assert (values.dtype, values.shape) == (np.int64, (1, 1, 6))
        assert (label.dtype, label.tolist()) == (np.int64, [rows[number]["label"]])
        assert values[0, 0].tolist() == rows[number]["codes"][:, 0].tolist()


def test_rar_lines_are_classes_and_tokens(tokens: Path) -> None:
    folder, rows = write_format(tokens, "rar"), TokenDataset(tokens)
    lines = [json.loads(line) for line in (folder / "pretokenized.jsonl").read_text().splitlines()]
    assert lines == [{"class_id": rows[i]["label"], "tokens": rows[i]["codes"][:, 0].tolist()} for i in range(COUNT)]


@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize("grid", [(2, 3), (6,)])
def test_latents_are_tensors_with_the_mean_and_deviation_of_all(kind: str, grid: tuple[int, ...], tmp_path: Path) -> None:
    tokens = exported(tmp_path / "tokens", grid=grid, latents=kind)
    folder, rows = write_format(tokens, "latents"), TokenDataset(tokens)
    latents, labels = [], []
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            part = file.get_slice("latents")
            latents.append(part[0 : part.get_shape()[0]])
            labels.append(file.get_tensor("labels"))
    found = torch.cat(latents)
    assert found.dtype == getattr(torch, kind)
    expected = torch.stack([rows[index]["latents"] for index in range(COUNT)])
    assert torch.equal(found.float(), expected.transpose(1, 2).unflatten(2, grid))
    assert torch.cat(labels).tolist() == [rows[index]["label"] for index in range(COUNT)]
    statistics = json.loads((folder / "statistics.json").read_text())
    vectors = expected.double().flatten(0, 1)
    assert np.allclose(statistics["mean"], vectors.mean(0).numpy(), rtol=0, atol=1e-12)
    assert np.allclose(statistics["std"], vectors.std(0, unbiased=False).numpy(), rtol=0, atol=1e-12)
    tensors = torch.load(folder / "latents_stats.pt", weights_only=True)
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == dict.fromkeys(("mean", "std"), (1, 3, *(1,) * len(grid)))
    assert torch.equal(tensors["mean"].flatten(), torch.tensor(statistics["mean"]))
    normal = (found.float() - tensors["mean"]) / tensors["std"]
    assert normal.mean().abs() < 1e-3


def test_latents_without_labels_are_latents_alone_and_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_format(exported(tmp_path / "tokens", source=Bare()), "latents")
    with safe_open(folder / "latents_rank00_shard00000.safetensors", framework="pt") as file:
        assert list(file.keys()) == ["latents"]
    absent = "the files have no labels and no latents_flip (of --views flip); LightningDiT reads latents, latents_flip and labels"
    assert absent in caplog.messages


@pytest.mark.parametrize("name", ["llamagen", "rar", "latents"])
def test_an_image_without_its_class_is_named_and_nothing_is_left(name: str, tmp_path: Path) -> None:
    sizes = () if name == "latents" else (256,)
    tokens = exported(tmp_path / "tokens", *sizes, source=Partly())
    with pytest.raises(
        TokbenchError, match="002 has no label, and every image needs one in this format; give it one, or choose another format"
    ):
        write_format(tokens, name)
    assert [path.name for path in tmp_path.iterdir()] == ["tokens"]
