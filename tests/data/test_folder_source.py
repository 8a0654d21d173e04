"""Folders of images."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image

from tokbench.data.folder import IMAGE_EXTENSIONS, FolderSource, is_hidden, is_image_name
from tokbench.errors import TokbenchError
from tokbench.images import UnreadableImage

Packer = Callable[[Path, Mapping[str, bytes]], Path]


def test_images_are_found_by_extension(tmp_path: Path, picture: Callable[[int], bytes], make_folder: Packer) -> None:
    images = [f"a.{extension}" for extension in IMAGE_EXTENSIONS] + ["B.JPG", "deep/er/C.Png", "d.e.png", "with space.png", "ü.png"]
    others = ["a.txt", "png", "a.png.txt", "labels.csv", "a.svg", "a.png~"]
    source = FolderSource(make_folder(tmp_path / "set", dict.fromkeys([*images, *others], picture(1))))
    assert source.ids == tuple(sorted(images))


def test_hidden_files_and_folders_are_left_out(tmp_path: Path, picture: Callable[[int], bytes], make_folder: Packer) -> None:
    names = ["a.png", ".b.png", ".cache/c.png", "d/.e/f.png", "__MACOSX/a.png", "d/.png"]
    assert FolderSource(make_folder(tmp_path / ".set", dict.fromkeys(names, picture(1)))).ids == ("a.png",)


def test_is_hidden() -> None:
    assert [is_hidden(path) for path in ("a/.b", ".a/b", "__MACOSX/a")] == [True] * 3
    assert [is_hidden(path) for path in ("./a", "../a", "a.b/c", "/a/b")] == [False] * 4


def test_is_image_name() -> None:
    assert [is_image_name(path) for path in ("a.png", "A.JPEG", "a.b/c.tif")] == [True] * 3
    assert [is_image_name(path) for path in ("png", ".png", "a.png/", "a.png/b", "a.pngx")] == [False] * 5


def test_name_is_the_last_part_however_the_folder_is_written(
    tmp_path: Path, picture: Callable[[int], bytes], make_folder: Packer, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder(tmp_path / "set", {"a/b.png": picture(1)})
    monkeypatch.chdir(root / "a")
    for path in (root, Path("."), Path(".."), root / "a" / ".."):
        assert FolderSource(path).name in ("set", "a")
    assert FolderSource(Path(".")).name == "a"
    assert FolderSource(Path("..")).name == "set"


def test_link_loops_end(tmp_path: Path, picture: Callable[[int], bytes], make_folder: Packer) -> None:
    root = make_folder(tmp_path / "set", {"a/x.png": picture(1), "b/y.png": picture(2)})
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "over").symlink_to(root / "b")
    (root / "b" / "over").symlink_to(root / "a")
    (root / "self.png").symlink_to(root / "self.png")
    assert FolderSource(root).ids == ("a/x.png", "b/y.png", "self.png")


def test_a_linked_folder_is_entered_once_and_by_its_real_path(tmp_path: Path, picture: Callable[[int], bytes], make_folder: Packer) -> None:
    outside = make_folder(tmp_path / "outside", {"o.png": picture(1), "in/p.png": picture(2)})
    root = make_folder(tmp_path / "set", {"m/x.png": picture(3)})
    (root / "a").symlink_to(root / "m")
    (root / "third").symlink_to(outside)
    (root / "second").symlink_to(outside)
    (root / "first").symlink_to(outside)
    assert FolderSource(root).ids == ("first/in/p.png", "first/o.png", "m/x.png")


def test_linked_files_are_images(
    tmp_path: Path, picture: Callable[[int], bytes], level: Callable[[Image.Image], int], make_folder: Packer
) -> None:
    root = make_folder(tmp_path / "set", {"a.png": picture(3)})
    (root / "b.png").symlink_to(root / "a.png")
    (root / "c.png").symlink_to(root / "gone.png")
    source = FolderSource(root)
    assert source.ids == ("a.png", "b.png", "c.png")
    assert [level(source.read(0)), level(source.read(1))] == [3, 3]
    for access in (source.read, source.raw_digest, source.open):
        with pytest.raises(UnreadableImage, match="No such file") as caught:
            access(2)
        assert str(tmp_path) not in str(caught.value)


def test_a_folder_with_the_name_of_an_image_is_a_folder(tmp_path: Path, picture: Callable[[int], bytes], make_folder: Packer) -> None:
    assert FolderSource(make_folder(tmp_path / "set", {"a.png/b.png": picture(3)})).ids == ("a.png/b.png",)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_is_not_an_image(tmp_path: Path, picture: Callable[[int], bytes], make_folder: Packer) -> None:
    root = make_folder(tmp_path / "set", {"a.png": picture(3)})
    os.mkfifo(root / "pipe.png")
    assert FolderSource(root).ids == ("a.png",)


def test_ids_can_be_written_as_utf8(tmp_path: Path, picture: Callable[[int], bytes], level: Callable[[Image.Image], int]) -> None:
    (tmp_path / "set").mkdir()
    try:
        (tmp_path / "set" / os.fsdecode(b"caf\xe9.png")).write_bytes(picture(3))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    source = FolderSource(tmp_path / "set")
    assert source.ids == ("caf\\xe9.png",)
    assert source.ids[0].encode("utf-8")
    assert level(source.read(0)) == 3


def test_two_names_that_are_one_id_are_refused(tmp_path: Path, picture: Callable[[int], bytes], make_folder: Packer) -> None:
    root = make_folder(tmp_path / "set", {"caf\\xe9.png": picture(3)})
    try:
        (root / os.fsdecode(b"caf\xe9.png")).write_bytes(picture(4))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(TokbenchError, match=r"^two images of set have one id, caf\\xe9\.png; rename one of them$"):
        FolderSource(root)


def test_no_images(tmp_path: Path, make_folder: Packer) -> None:
    message = r"^no images in .*{}; images are files that end in jpg, .*, avif and are not hidden; check the path$"
    for name, files in (("empty", {}), ("texts", {"a.txt": b"a", ".b.png": b"b"})):
        with pytest.raises(TokbenchError, match=message.format(name)):
            FolderSource(make_folder(tmp_path / name, files))


def test_not_a_folder(tmp_path: Path) -> None:
    with pytest.raises(TokbenchError, match=r"none is not a folder; give a folder of images"):
        FolderSource(tmp_path / "none")


def test_a_folder_that_cannot_be_listed(
    tmp_path: Path, picture: Callable[[int], bytes], make_folder: Packer, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder(tmp_path / "set", {"a.png": picture(1)})

    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied", str(root))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(TokbenchError, match=r"cannot list the folder .*set: Permission denied; make it readable"):
        FolderSource(root)
