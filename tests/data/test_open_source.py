"""From what follows --data to a source, or to one line that helps."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tokbench.data.archives import ZipSource
from tokbench.data.folder import FolderSource
from tokbench.data.open import open_source, open_training_source
from tokbench.data.photos import PhotoCrops, WholePhotos
from tokbench.data.shards import ShardSource
from tokbench.errors import TokbenchError

Packer = Callable[[Path, Mapping[str, bytes]], Path]


class NamedCrops(PhotoCrops):
    """Crops that are not cut."""

    def __init__(self, split: str, size: int, *, scaled: bool = True) -> None:
        self.name = f"photos/{split}"
        self.ready_size = size if scaled else None


@pytest.mark.parametrize(("spec", "name"), [("photos", "photos/test"), ("photos/test", "photos/test"), ("photos/train", "photos/train")])
def test_photos_to_measure_on_are_crops_of_the_size(spec: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokbench.data.open.PhotoCrops", NamedCrops)
    source = open_source(spec, size=64)
    assert isinstance(source, NamedCrops)
    assert (source.name, source.ready_size) == (name, 64)


@pytest.mark.parametrize("spec", ["photos", "photos/train"])
def test_photos_to_train_on_are_whole(spec: str) -> None:
    source = open_training_source(spec)
    assert isinstance(source, WholePhotos)
    assert (source.name, source.ready_size) == ("photos/train", None)


def test_the_test_photos_are_never_trained_on() -> None:
    with pytest.raises(TokbenchError, match=r"photos/test is what .* never trained on; train on photos/train or other images"):
        open_training_source("photos/test")


def test_a_part_of_the_photos_that_does_not_exist() -> None:
    with pytest.raises(TokbenchError, match=r"unknown part of the embedded photos 'photos/tset'; did you mean photos/test"):
        open_source("photos/tset", size=64)


def test_photos_in_a_size_they_do_not_have() -> None:
    with pytest.raises(TokbenchError, match="got 512"):
        open_source("photos", size=512)


def test_a_folder_called_photos(
    tmp_path: Path, picture: Callable[[int], bytes], make_folder: Packer, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path / "photos", {"mine/a.png": picture(1)})
    monkeypatch.chdir(tmp_path)
    assert open_source("./photos", size=64).ids == ("mine/a.png",)
    assert open_source("photos/mine", size=64).ids == ("a.png",)
    assert isinstance(open_source("photos", size=64), PhotoCrops)


def test_home_is_expanded(
    tmp_path: Path,
    picture: Callable[[int], bytes],
    make_folder: Packer,
    make_zip: Packer,
    make_tar: Packer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    make_folder(tmp_path / "set", {"a.png": picture(1)})
    make_zip(tmp_path / "set.zip", {"a.png": picture(1)})
    make_tar(tmp_path / "set-0.tar", {"a.png": picture(1)})
    assert [len(open_source(spec, size=64)) for spec in ("~/set", "~/set.zip", "~/set-{0..0}.tar")] == [1, 1, 1]


def test_extensions_are_read_in_any_case(tmp_path: Path, picture: Callable[[int], bytes], make_zip: Packer, make_tar: Packer) -> None:
    assert isinstance(open_source(str(make_zip(tmp_path / "A.ZIP", {"a.png": picture(1)})), size=64), ZipSource)
    tar = open_source(str(make_tar(tmp_path / "A.TAR", {"a.png": picture(1)})), size=64)
    assert tar.ids == ("A/a",)


def test_a_pattern_of_shards(tmp_path: Path, picture: Callable[[int], bytes], make_tar: Packer) -> None:
    for number in range(3):
        make_tar(tmp_path / f"s-{number:04d}.tar", {f"{number}.png": picture(number)})
    source = open_source(str(tmp_path / "s-{0001..0002}.tar"), size=64)
    assert source.ids == ("s-0001/1", "s-0002/2")
    assert source.name == "s-{0001..0002}.tar"
    with pytest.raises(TokbenchError, match=r"the shard .*s-0003\.tar of .* does not exist; check the path or the range"):
        open_source(str(tmp_path / "s-{0001..9999999999}.tar"), size=64)


def test_a_pattern_of_other_files(tmp_path: Path) -> None:
    with pytest.raises(TokbenchError, match=r"do not end in \.tar, \.parquet or \.zip; allowed: photos"):
        open_source(str(tmp_path / "s-{0..3}.jpg"), size=64)
    with pytest.raises(TokbenchError, match=r"the shard .*s-0\.zip of .* does not exist; check the path or the range"):
        open_source(str(tmp_path / "s-{0..3}.zip"), size=64)
    with pytest.raises(TokbenchError, match=r"s-0\.tar\.gz is a compressed tar"):
        open_source(str(tmp_path / "s-{0..3}.tar.gz"), size=64)


def test_a_folder_with_braces_in_its_name(tmp_path: Path, picture: Callable[[int], bytes], make_folder: Packer) -> None:
    assert open_source(str(make_folder(tmp_path / "{a}", {"a.png": picture(1)})), size=64).name == "{a}"


def test_a_folder_of_shards(tmp_path: Path, picture: Callable[[int], bytes], make_folder: Packer, make_tar: Packer) -> None:
    root = make_folder(tmp_path / "shards", {"README.md": b"", "sizes.json": b"{}", ".old.tar": b"broken"})
    for number in (1, 0):
        make_tar(root / f"{number}.tar", {"a.png": picture(number)})
    source = open_source(f"{root}{os.sep}", size=64)
    assert isinstance(source, ShardSource)
    assert (source.name, source.ids) == ("shards", ("0/a", "1/a"))


def test_a_folder_of_images_beside_archives(tmp_path: Path, picture: Callable[[int], bytes], make_folder: Packer, make_tar: Packer) -> None:
    root = make_folder(tmp_path / "set", {"deep/a.png": picture(1), "backup.zip": b"", "old.tar.gz": b""})
    make_tar(root / "all.tar", {"b.png": picture(1)})
    source = open_source(str(root), size=64)
    assert isinstance(source, FolderSource)
    assert source.ids == ("deep/a.png",)


@pytest.mark.parametrize("name", ["a.tar.gz", "a.TGZ", "a.tar.zst", "a.tar.xz"])
def test_compressed_tars_are_to_be_decompressed(name: str, tmp_path: Path, make_folder: Packer) -> None:
    root = make_folder(tmp_path / "set", {name: b"", "b.tar": b""})
    for spec in (root, root / name):
        with pytest.raises(TokbenchError, match=rf"{name} is a compressed tar, .*; decompress it to a plain \.tar"):
            open_source(str(spec), size=64)


def test_a_folder_of_parquet_files(tmp_path: Path, make_folder: Packer) -> None:
    root = make_folder(tmp_path / "set", {"test-0.parquet": b"", "test-1.parquet": b""})
    with pytest.raises(
        TokbenchError, match=rf"holds no images but test-0\.parquet; give that file, several as in {root}/\{{a,b\}}\.parquet, or hf:"
    ):
        open_source(str(root), size=64)


def test_a_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(TokbenchError, match="no images in"):
        open_source(str(tmp_path), size=64)


@pytest.mark.parametrize("open_it", [lambda spec: open_source(spec, size=64), open_training_source])
@pytest.mark.parametrize("spec", ["none", "none.zip", "none.tar", "none.parquet", "", "hf:", "photo", "~nobody-by-this-name/x"])
def test_what_does_not_exist(spec: str, open_it: Callable[[str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    message = r"^--data .+ does not exist; allowed: photos, .*a folder of images; a \.zip; .*hf:NAME.*; check the path$"
    with pytest.raises(TokbenchError, match=message):
        open_it(spec)


@pytest.mark.parametrize("name", ["list.txt", "a.png", "weights.safetensors", "noextension"])
def test_a_file_of_another_kind(name: str, tmp_path: Path, make_folder: Packer) -> None:
    root = make_folder(tmp_path / "set", {name: b"hello"})
    with pytest.raises(TokbenchError, match=rf"^--data .*{name} is a file of another kind; allowed: photos, .*; name the folder or"):
        open_source(str(root / name), size=64)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_neither_a_file_nor_a_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.zip")
    with pytest.raises(TokbenchError, match=r"pipe\.zip is neither a file nor a folder"):
        open_source(str(tmp_path / "pipe.zip"), size=64)
