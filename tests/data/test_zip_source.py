"""Zip files of images."""

from __future__ import annotations

import gc
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tokbench.data.archives import PerProcess, ZipSource
from tokbench.errors import TokbenchError
from tokbench.images import UnreadableImage

Packer = Callable[[Path, Mapping[str, bytes]], Path]


def test_members_that_are_images(tmp_path: Path, picture: Callable[[int], bytes], make_zip: Packer) -> None:
    names = ["b/a.png", "a.JPG", "__MACOSX/b/._a.png", ".hidden/a.png", "b/.a.png", "read.txt", "b.png/", "c/"]
    assert ZipSource(make_zip(tmp_path / "a.zip", {name: b"" if name.endswith("/") else picture(1) for name in names})).ids == (
        "a.JPG",
        "b/a.png",
    )


def test_dangerous_names_are_only_ids(
    tmp_path: Path, picture: Callable[[int], bytes], level: Callable[[Image.Image], int], make_zip: Packer
) -> None:
    (tmp_path / "in").mkdir()
    files = {"../up.png": picture(1), "/tmp/root.png": picture(2), "a/../../b.png": picture(3), "C:\\c.png": picture(4)}
    source = ZipSource(make_zip(tmp_path / "in" / "a.zip", files))
    assert source.ids == tuple(sorted(files))
    assert {id_: level(source.read(index)) for index, id_ in enumerate(source.ids)} == dict(zip(files, (1, 2, 3, 4), strict=True))
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "a.zip"]


def test_of_two_members_with_one_name_the_later_counts(
    tmp_path: Path, picture: Callable[[int], bytes], level: Callable[[Image.Image], int]
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", picture(1))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.png", picture(2))
    source = ZipSource(tmp_path / "a.zip")
    assert source.ids == ("a.png",)
    assert level(source.read(0)) == 2


def test_a_damaged_member_is_unreadable_and_the_others_are_not(
    tmp_path: Path, picture: Callable[[int], bytes], level: Callable[[Image.Image], int], make_zip: Packer
) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.png": picture(1), "b.png": picture(2), "c.png": picture(3)})
    data = bytearray(path.read_bytes())
    data[data.index(picture(1)) + 20] ^= 1
    path.write_bytes(data)
    source = ZipSource(path)
    with pytest.raises(UnreadableImage, match="CRC"):
        source.read(0)
    with pytest.raises(UnreadableImage, match="CRC"):
        source.raw_digest(0)
    assert [level(source.read(1)), level(source.read(2))] == [2, 3]


def test_a_zip_cut_anywhere_is_refused(tmp_path: Path, picture: Callable[[int], bytes], make_zip: Packer) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.png": picture(1), "b.png": picture(2)})
    data = path.read_bytes()
    for length in {*range(0, len(data), 9), *range(len(data) - 25, len(data))}:
        path.write_bytes(data[:length])
        with pytest.raises(TokbenchError, match=r"a\.zip is not a whole zip file \(.+\); copy or download it again"):
            ZipSource(path)


def test_a_zip_without_its_beginning_is_refused(tmp_path: Path, picture: Callable[[int], bytes], make_zip: Packer) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.png": picture(1), "b.png": picture(2)})
    data = path.read_bytes()
    for start in (1, 10, 40, 100, data.index(b"b.png")):
        path.write_bytes(data[start:])
        with pytest.raises(TokbenchError, match=r"a\.zip is not a whole zip file \(.+\); copy or download it again"):
            ZipSource(path)


def test_a_zip_that_was_let_go_of_takes_little_of_each_member(tmp_path: Path, make_zip: Packer) -> None:
    names = [f"{number:08d}" for number in range(3000)]
    path = make_zip(tmp_path / "a.zip", {f"{name}.{kind}": b"x" for name in names for kind in ("png", "txt")})
    tracemalloc.start()
    try:
        source = ZipSource(path)
        source.release()
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 100 * len(names)
    assert (len(source), source.caption(2999)) == (3000, "x")


def test_no_images(tmp_path: Path, make_zip: Packer) -> None:
    for files in ({}, {"a.txt": b"a", ".a.png": b"b"}):
        with pytest.raises(TokbenchError, match=r"no images in .*a\.zip; images are files that end in jpg"):
            ZipSource(make_zip(tmp_path / "a.zip", files))


def test_a_password_is_refused(tmp_path: Path, picture: Callable[[int], bytes], make_zip: Packer) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.png": picture(1)})
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(TokbenchError, match=r"a\.zip needs a password; .* unpack it and give the folder"):
        ZipSource(path)


def test_an_open_file_is_used_by_one_thread_at_a_time() -> None:
    inside: list[int] = []
    shared = PerProcess(list[int])

    def use(number: int) -> int:
        with shared.use():
            inside.append(number)
            time.sleep(0.002)
            together = len(inside)
            inside.pop()
        return together

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(use, range(20))) == {1}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=3))
def test_damage_is_an_error_of_ours(
    flips: list[tuple[int, int]], tmp_path: Path, picture: Callable[[int], bytes], make_zip: Packer
) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.png": picture(1), "b.png": picture(2)})
    data = bytearray(path.read_bytes())
    for position, mask in flips:
        data[position % len(data)] ^= mask
    path.write_bytes(data)
    try:
        source = ZipSource(path)
    except TokbenchError:
        return
    for index in range(len(source)):
        with suppress(UnreadableImage):
            source.read(index)
