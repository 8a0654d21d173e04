"""Hugging Face data sets, from local folders: nothing here needs the network."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tokbench.data.hub import HubSource
from tokbench.data.open import open_training_source
from tokbench.errors import TokbenchError
from tokbench.images import UnreadableImage

datasets = pytest.importorskip("datasets")

Picture = Callable[[int], bytes]
Level = Callable[[Image.Image], int]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def make(tmp_path: Path, picture: Picture) -> Callable[..., Path]:
    """Write a data set of parquet files, with as many rows in a split as asked for."""

    def write(**splits: int) -> Path:
        root = tmp_path / "set"
        root.mkdir()
        for split, rows in splits.items():
            images = [{"bytes": picture(number), "path": f"{split}{number}.png"} for number in range(rows)]
            pq.write_table(pa.table({"image": images, "label": list(range(rows))}), root / f"{split}-00000-of-00001.parquet")
        return root

    return write


@pytest.mark.parametrize(
    ("splits", "chosen"),
    [
        ({"train": 1, "validation": 2, "test": 3}, "test"),
        ({"train": 1, "validation": 2}, "validation"),
        ({"train": 1}, "train"),
    ],
)
def test_default_split(splits: dict[str, int], chosen: str, make: Callable[..., Path]) -> None:
    source = HubSource(str(make(**splits)))
    assert source.name == f"set:{chosen}"
    assert source.ids == tuple(f"{chosen}{number}.png" for number in range(splits[chosen]))


def test_training_takes_the_train_split(make: Callable[..., Path]) -> None:
    assert open_training_source(f"hf:{make(train=2, test=1)}").name == "set:train"


def test_a_named_split(make: Callable[..., Path], level: Level) -> None:
    source = HubSource(f"{make(train=2, test=1)}:train")
    assert source.name == "set:train"
    assert [level(source.read(0)), level(source.read(1))] == [0, 1]


def test_a_split_that_must_be_named(tmp_path: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "get_dataset_config_names", lambda _: ["default"])
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *_: ["train", "extra"])
    with pytest.raises(TokbenchError, match=r"hf:u/n has none of the splits test and validation; it has train, extra; .* hf:u/n:train$"):
        HubSource("u/n")


def test_an_unknown_split(make: Callable[..., Path]) -> None:
    root = make(train=1, test=1)
    with pytest.raises(TokbenchError, match=rf"^hf:{root} has no split 'dev'; it has train, test; name one .*, as in hf:{root}:train$"):
        HubSource(f"{root}:dev")


def test_home_is_expanded(make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(make(test=2).parent))
    assert len(HubSource("~/set")) == 2


def test_a_folder_of_images_is_read_file_by_file(tmp_path: Path, picture: Picture, level: Level) -> None:
    for number, name in enumerate(("test/a/x.png", "test/b/y.png")):
        (tmp_path / "set" / name).parent.mkdir(parents=True)
        (tmp_path / "set" / name).write_bytes(picture(number))
    source = HubSource(str(tmp_path / "set"))
    assert sorted(source.ids) == ["x.png", "y.png"]
    assert {id_: level(source.read(index)) for index, id_ in enumerate(source.ids)} == {"x.png": 0, "y.png": 1}
    (tmp_path / "set" / "test" / "b" / "y.png").unlink()
    with pytest.raises(UnreadableImage, match="No such file") as caught:
        source.read(source.ids.index("y.png"))
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("whole", [True, False])
def test_what_save_to_disk_wrote(whole: bool, tmp_path: Path, picture: Picture, level: Level) -> None:
    features = datasets.Features({"picture": datasets.Image(), "__key__": datasets.Value("string")})
    rows = {"picture": [{"bytes": picture(4), "path": None}, None], "__key__": ["k1", "k2"]}
    data = datasets.Dataset.from_dict(rows, features=features, split="train")
    (datasets.DatasetDict(test=data, train=data) if whole else data).save_to_disk(str(tmp_path / "set"))
    source = HubSource(str(tmp_path / "set"))
    assert source.name == ("set:test" if whole else "set:train")
    assert source.ids == ("k1", "k2")
    assert level(source.read(0)) == 4
    with pytest.raises(UnreadableImage, match="no bytes"):
        source.read(1)


def test_images_that_changed_are_looked_at(make: Callable[..., Path], tmp_path: Path, picture: Picture) -> None:
    folder = tmp_path / "pictures" / "train"
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"{number}.png").write_bytes(picture(number))
    source, stored = HubSource(str(tmp_path / "pictures")), HubSource(str(make(test=3)))
    moment = time.time() + 5
    assert not any(one.changed_since(index, moment) for one in (source, stored) for index in range(3))
    os.utime(folder / "1.png", (moment + 9, moment + 9))
    assert [source.changed_since(index, moment) for index in range(3)] == [False, True, False]
    assert all(stored.changed_since(index, 0.0) for index in range(3))  # what the library has written


def test_broken_images_surface_when_they_are_read(tmp_path: Path) -> None:
    """datasets would decode, and fail, on its own."""
    features = datasets.Features({"image": datasets.Image()})
    data = datasets.Dataset.from_dict({"image": [{"bytes": b"broken", "path": None}]}, features=features, split="test")
    data.save_to_disk(str(tmp_path / "set"))
    with pytest.raises(UnreadableImage, match="not an image"):
        HubSource(str(tmp_path / "set")).read(0)


def test_no_image_column(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "set" / "test.parquet")
    with pytest.raises(TokbenchError, match=r"hf:.*set has no image column; its columns are: text \(string\)"):
        HubSource(str(tmp_path / "set"))


@pytest.mark.parametrize("name", ["nobody/nothing", "nothing"])
def test_offline(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    message = rf"^cannot load the data set hf:{name} \(.+\); give hf:NAME or hf:NAME:SPLIT .*; check the name and the connection$"
    with pytest.raises(TokbenchError, match=message):
        HubSource(name)


def test_an_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> Any:
        raise datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' doesn't exist on the Hub or cannot be accessed.\nSecond line.")

    monkeypatch.setattr(datasets, "get_dataset_config_names", fail)
    with pytest.raises(TokbenchError, match=r"hf:a/b \(Dataset 'a/b' doesn't exist on the Hub or cannot be accessed\); give"):
        HubSource("a/b")


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(TokbenchError, match=r"cannot load the data set hf:.* \(The directory at .* doesn't contain any data files\)"):
        HubSource(str(tmp_path))


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        TokbenchError, match=r"--data hf:a/b needs the package datasets, which is not installed; .* pip install 'tokbench\[hf\]'"
    ):
        HubSource("a/b")
