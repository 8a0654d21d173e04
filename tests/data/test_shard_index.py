"""Indexes of shards: found again while a shard is as it was, made anew when it is not, and never trusted when they are damaged."""

from __future__ import annotations

import os
import tarfile
import time
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from tokbench.data import shard_index as module
from tokbench.data.shard_index import shard_index
from tokbench.data.shards import ShardSource
from tokbench.errors import TokbenchError

Packer = Callable[[Path, Mapping[str, bytes]], Path]


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], list[Path]]:
    """Keep every index in a cache of this test; lists what is there."""
    monkeypatch.setattr(module, "WORTH_KEEPING", 1)
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))
    return lambda: sorted((tmp_path / "cache" / "shards").glob("*"))


def scans(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Shards whose headers are read from now on."""
    found: list[Path] = []
    own = module.samples_in
    monkeypatch.setattr(module, "samples_in", lambda path: (found.append(path), own(path))[1])
    return found


def test_headers_of_many_members_take_few_bytes_each(tmp_path: Path) -> None:
    most = []
    for count in (4000, 12_000):
        with tarfile.open(tmp_path / f"{count}.tar", "w") as tar:
            for number in range(count):
                for ending in (".png", ".cls"):
                    tar.addfile(tarfile.TarInfo(f"{number:06d}{ending}"))
        tracemalloc.start()
        found = module._made(tmp_path / f"{count}.tar")
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(found.keys) == count
        assert (found.places[:, 4:] == -1).all()
        assert (found.places[:, :4] >= 0).all()
    assert (most[1] - most[0]) / 8000 < 300


def test_a_folder_whose_name_begins_like_a_sample_does_not_part_it(
    make_tar: Packer, picture: Callable[[int], bytes], tmp_path: Path
) -> None:
    files = {"a.cls": b"3", "a.k/b.png": picture(1), "a.k/b.cls": b"4", "a.png": picture(0), "a.txt": b"a cat"}
    found = module._made(make_tar(tmp_path / "a.tar", files))
    assert found.keys == ["a", "a.k/b"]
    assert found.lost_notes == ()
    assert (found.places[0] >= 0).sum() == 6  # image, class and caption of a
    twice = make_tar(tmp_path / "b.tar", {"a.jpg": picture(0), "a.k/b.png": picture(1), "a.png": picture(2)})
    with pytest.raises(TokbenchError, match=r"the sample a of .* has several images: a\.jpg, a\.png"):
        module._made(twice)


def shard(make_tar: Packer, path: Path, picture: Callable[[int], bytes], first: int = 0) -> Path:
    files = {"b.png": picture(first + 1), "a.png": picture(first), "a.cls": b"7", "lost.txt": b"x", "raw.psd": b"y", "ü.png": picture(5)}
    return make_tar(path, files)


def test_headers_are_read_once(
    kept: Callable[[], list[Path]],
    tmp_path: Path,
    picture: Callable[[int], bytes],
    make_tar: Packer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path, found = shard(make_tar, tmp_path / "s.tar", picture), scans(monkeypatch)
    sources = [ShardSource([path], "s.tar") for _ in range(2)]
    assert found == [path]
    assert len(kept()) == 1
    for source in sources:
        assert source.ids == ("s/a", "s/b", "s/ü")
        assert [source.read_bytes(index) for index in range(3)] == [picture(0), picture(1), picture(5)]
        assert (source.label(0), source.label(1), source.passed_over) == (7, None, ("s/raw.psd",))
    assert caplog.text.count("1 texts, classes or fields of s.tar belong to no image, the first is lost.txt") == 2


def test_a_shard_that_changed_is_read_again_and_its_old_index_goes(
    kept: Callable[[], list[Path]], tmp_path: Path, picture: Callable[[int], bytes], make_tar: Packer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shard(make_tar, tmp_path / "s.tar", picture)
    ShardSource([path], "s")
    (before,), status = kept(), path.stat()
    shard(make_tar, path, picture, first=40)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as an archive restored with its times has them
    assert path.stat().st_size == status.st_size
    assert ShardSource([path], "s").read_bytes(0) == picture(40)
    (after,) = kept()
    assert after != before
    found = scans(monkeypatch)
    ShardSource([path], "s")
    assert not found


def test_an_index_that_nobody_looks_up_for_long_goes(
    kept: Callable[[], list[Path]], tmp_path: Path, picture: Callable[[int], bytes], make_tar: Packer
) -> None:
    gone, used = shard(make_tar, tmp_path / "gone.tar", picture), shard(make_tar, tmp_path / "used.tar", picture)
    ShardSource([gone], "gone")
    (index_of_gone,) = kept()
    ShardSource([gone, used], "both")
    long_ago = time.time() - (module.DAYS_UNUSED + 1) * 24 * 3600
    for file in kept():
        os.utime(file, (long_ago, long_ago))
    half_written = index_of_gone.with_name(".x.index.partial")
    half_written.write_bytes(b"x")
    ShardSource([used], "used")
    (left,) = kept()
    assert left != index_of_gone
    assert left.stat().st_mtime > long_ago + 3600
    assert not half_written.exists()


def test_pipes_and_folders_named_like_shards_are_no_tars(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tar")
    (tmp_path / "folder.tar").mkdir()
    for name, what in (("pipe", "a pipe or a device"), ("folder", "a folder")):
        with pytest.raises(TokbenchError, match=rf"{name}\.tar is not a whole tar file \(it is {what}, not a file\)"):
            shard_index(tmp_path / f"{name}.tar")


def test_damaged_indexes_are_made_again(
    kept: Callable[[], list[Path]], tmp_path: Path, picture: Callable[[int], bytes], make_tar: Packer
) -> None:
    path = shard(make_tar, tmp_path / "s.tar", picture)
    ShardSource([path], "s")
    (file,) = kept()
    whole = file.read_bytes()
    for damage in (b"", whole[:40], whole[:-1], bytes([whole[0] ^ 1]) + whole[1:], whole[:-3] + b"abc", b"\x80\x04."):
        file.write_bytes(damage)
        assert ShardSource([path], "s").ids == ("s/a", "s/b", "s/ü")
        assert file.read_bytes() == whole


def test_indexes_of_another_shape_are_not_believed(kept: Callable[[], list[Path]], tmp_path: Path) -> None:
    import hashlib
    import json

    import safetensors.numpy

    about = {"about": json.dumps({"passed_over": [], "lost_notes": [], "empty": []})}
    tensors = {"keys": np.frombuffer(b"ab", np.uint8), "ends": np.array([1, 2]), "places": np.zeros((1, 8), np.int64)}
    for name, value in {"places": np.zeros((2, 7), np.int64), "ends": np.array([1, 9])}.items():
        data = safetensors.numpy.save({**tensors, "places": np.zeros((2, 8), np.int64), name: value}, about)
        file = tmp_path / "x.index"
        file.write_bytes(hashlib.sha256(data).digest() + data)
        assert module._read(file) is None
        assert not file.exists()


def test_small_shards_leave_nothing_behind(
    tmp_path: Path, picture: Callable[[int], bytes], make_tar: Packer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))
    ShardSource([shard(make_tar, tmp_path / "s.tar", picture)], "s")
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_is_left_alone(
    tmp_path: Path, picture: Callable[[int], bytes], make_tar: Packer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WORTH_KEEPING", 1)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "file" / "below"))
    assert len(ShardSource([shard(make_tar, tmp_path / "s.tar", picture)], "s")) == 3


def test_damaged_shards_leave_no_index(
    kept: Callable[[], list[Path]], tmp_path: Path, picture: Callable[[int], bytes], make_tar: Packer
) -> None:
    path = shard(make_tar, tmp_path / "s.tar", picture)
    path.write_bytes(path.read_bytes()[:700])
    for _ in range(2):
        with pytest.raises(TokbenchError, match="is not a whole tar file"):
            shard_index(path)
    assert kept() == []


def test_a_shard_whose_name_begins_that_of_another_keeps_its_place(
    tmp_path: Path, picture: Callable[[int], bytes], make_tar: Packer
) -> None:
    (tmp_path / "a").mkdir()
    outer = make_tar(tmp_path / "a.tar", {"b/x.png": picture(1), "c.png": picture(2), "a.png": picture(3)})
    inner = make_tar(tmp_path / "a" / "b.tar", {"w.png": picture(4), "y.png": picture(5)})
    source = ShardSource([outer, inner], "set")
    assert source.ids == ("a/a", "a/b/w", "a/b/x", "a/b/y", "a/c")
    assert [source.read_bytes(index) for index in range(5)] == [picture(number) for number in (3, 4, 1, 5, 2)]
    with pytest.raises(TokbenchError, match=r"a\.tar is there twice among the parts of set; give each once"):
        ShardSource([outer, outer], "set")
