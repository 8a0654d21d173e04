"""Tokenizers as folders and files of their own: what is saved comes back the same, by its path alone."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import tokbench
from tokbench.configs import with_overrides
from tokbench.errors import TokbenchError
from tokbench.tokenizers import zoo
from tokbench.tokenizers.wan.model import Wan
from tokbench.tokenizers.zoo import save_tokenizer
from tokbench.weights.checkpoints import save_weights
from tokbench.weights.obtain import weights_path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tokenizer(tokbench.load("vqgan/tiny"), tmp_path / "mine")


def same(a: tokbench.Tokenizer, b: tokbench.Tokenizer) -> bool:
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return a.config == b.config and torch.equal(a.encode(images).codes, b.encode(images).codes)


def test_a_folder_is_loaded_by_its_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = tokbench.load("vqgan/tiny")
    again = tokbench.load(str(folder))
    assert same(again, original)
    assert (again.name, again.trained_with) == (original.name, original.trained_with)
    assert again.weights_sha256 != original.weights_sha256  # another file
    monkeypatch.chdir(folder.parent)
    assert same(tokbench.load("mine"), original)
    assert same(tokbench.load("vqgan", weights="mine"), original)


def test_a_folder_says_what_it_was_made_from(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    assert values["tokenizer"] == "vqgan/tiny"
    assert values["weights"] == {
        "made_from_sha256": tokbench.load("vqgan/tiny").weights_sha256,
        "how": tokbench.load("vqgan/tiny").weights_how,
    }
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}


def test_a_setting_that_is_taken_back_comes_back(tmp_path: Path) -> None:
    """Of a row that has it."""
    row = zoo.resolve("wan/2.2")[1]
    small = {"z_channels": 4, "channels": 8, "channel_multipliers": (1, 1), "temporal": (False,), "decoder_channels": None}
    config = with_overrides(row.config, {f"network.{key}": value for key, value in small.items()})
    model = Wan(config)  # type: ignore[arg-type]
    model.name = "wan/2.2"
    again = tokbench.load(str(save_tokenizer(model, tmp_path / "small")))
    assert again.config == model.config
    assert again.config.network.decoder_channels is None


def test_a_changed_configuration_comes_back(tmp_path: Path) -> None:
    original = tokbench.load("flowmo/tiny", config={"steps": 3, "guidance": 1.5})
    again = tokbench.load(str(save_tokenizer(original, tmp_path / "f")))
    assert again.config == original.config
    assert (again.config.steps, again.config.guidance) == (3, 1.5)
    assert tokbench.load(str(tmp_path / "f"), config={"steps": 2}).config.steps == 2


def test_half_precision_is_stored_and_computed_in_single(folder: Path, tmp_path: Path) -> None:
    half = save_tokenizer(tokbench.load("vqgan/tiny"), tmp_path / "half", dtype=torch.float16)
    assert (half / "model.safetensors").stat().st_size < 0.6 * (folder / "model.safetensors").stat().st_size
    assert next(tokbench.load(str(half)).parameters()).dtype == torch.float32


def test_the_file_that_training_writes_is_loaded_by_its_path(tmp_path: Path) -> None:
    original = tokbench.load("vqvae/tiny")
    from tokbench.configs import plain

    about = {"tokenizer": "vqvae/tiny", "config": plain(original.config), "steps": 3}
    save_weights(original.state_dict(), tmp_path / "weights.safetensors", about=about)
    assert same(tokbench.load(str(tmp_path / "weights.safetensors")), original)


def test_a_folder_of_another_family_is_not_taken_for_this_one(folder: Path) -> None:
    with pytest.raises(TokbenchError, match=r"holds vqgan/tiny, not a vae; load it by its place alone"):
        tokbench.load("vae/tiny", weights=folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not readable JSON"),
        ("[]", "holds no tokenizer saved by tokbench"),
        ('{"_class_name": "AutoencoderKL"}', "holds no tokenizer saved by tokbench"),
        ('{"tokbench": "1"}', "names no tokenizer and configuration"),
        ('{"tokbench": "1", "tokenizer": "nobody/tiny", "config": {}}', "unknown tokenizer 'nobody/tiny'"),
        ('{"tokbench": "1", "tokenizer": "vqgan/tiny", "config": {"strange": 1}}', "unknown setting 'strange'"),
        ('{"tokbench": "1", "tokenizer": "vqgan/tiny", "config": 3}', "names no tokenizer and configuration"),
    ],
)
def test_folders_that_hold_something_else(content: str, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "config.json").write_text(content)
    with pytest.raises(TokbenchError, match=message):
        tokbench.load(str(folder))


def test_a_folder_without_its_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(TokbenchError, match=r"holds config.json without model.safetensors; copy both"):
        tokbench.load(str(folder))


def test_nothing_is_written_over(folder: Path, tmp_path: Path) -> None:
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(TokbenchError, match="is not empty; choose a folder that is"):
        save_tokenizer(tokbench.load("vae/tiny"), folder)
    assert (folder / "model.safetensors").read_bytes() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(TokbenchError, match="cannot write to"):
        save_tokenizer(tokbench.load("vae/tiny"), tmp_path / "file" / "x")


def test_only_tokenizers_of_the_zoo_are_saved(tmp_path: Path) -> None:
    tokenizer = tokbench.load("pixel/rgb")
    tokenizer.name = "my.module:Mine"
    with pytest.raises(TokbenchError, match="is not of a family of the zoo"):
        save_tokenizer(tokenizer, tmp_path / "x")


def test_weights_of_the_package_are_loaded_by_their_path() -> None:
    path = weights_path(zoo.resolve("vqgan/tiny")[1])
    assert same(tokbench.load(str(path)), tokbench.load("vqgan/tiny"))


def test_what_a_killed_process_left_is_taken_away(tmp_path):
    expected = sorted(path.name for path in save_tokenizer(tokbench.load("pixel"), tmp_path / "whole").iterdir())
    draft = tmp_path / "killed" / ".config.json.draft"
    draft.mkdir(parents=True)
    for name in ("lock", "model.safetensors", "config.json"):
        (draft / name).write_text("half")
    (draft.parent / "model.safetensors").hardlink_to(draft / "model.safetensors")  # it had its name, config.json had not
    assert sorted(path.name for path in save_tokenizer(tokbench.load("pixel"), tmp_path / "killed").iterdir()) == expected


READER = """
import torch
from safetensors.torch import save_file
from tokbench import TokenLayout, Tokenizer

class Reader(Tokenizer):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def layout(self, height, width):
        return TokenLayout((height, width), (1,), (2,))

    def read_weights(self, path):
        return super().read_weights(path)

    def _encode(self, images, seeds): ...
    def _decode(self, tokens, seeds): ...
"""


@pytest.mark.parametrize("choice", [{"drop": ("left.",)}, {"averages": True}, {"averages": False}])
def test_a_plugin_that_reads_by_the_path_alone_takes_no_choice(
    choice: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_reader.py").write_text(READER)
    monkeypatch.syspath_prepend(tmp_path)
    save_file({"scale": torch.zeros(1)}, tmp_path / "a.safetensors")
    loaded = tokbench.load("own_reader:Reader", weights=tmp_path / "a.safetensors")
    assert float(loaded.state_dict()["scale"]) == 0
    with pytest.raises(TokbenchError, match="own_reader:Reader reads weights in a way of its own, which takes no --drop and --averages"):
        tokbench.load("own_reader:Reader", weights=tmp_path / "a.safetensors", **choice)
