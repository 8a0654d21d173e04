"""Webdataset shards."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tokbench.data.shards import ShardSource, expand_braces
from tokbench.errors import TokbenchError
from tokbench.images import UnreadableImage

Packer = Callable[[Path, Mapping[str, bytes]], Path]


def one(path: Path) -> ShardSource:
    return ShardSource([path], path.name)


def test_samples_are_named_by_their_keys(
    tmp_path: Path, picture: Callable[[int], bytes], level: Callable[[Image.Image], int], make_tar: Packer
) -> None:
    files = {
        "b.png": picture(2),
        "b.json": b"{}",
        "b.cls": b"3",
        "d/a.JPEG": picture(1),
        "d/a.txt": b"",
        "d.e/c.png": picture(3),
        "x.txt": b"",
    }
    source = one(make_tar(tmp_path / "set-00.tar", files))
    assert source.ids == ("set-00/b", "set-00/d.e/c", "set-00/d/a")
    assert [level(source.read(index)) for index in range(3)] == [2, 3, 1]
    assert source.name == "set-00.tar"


def test_the_image_of_a_sample_is_the_one_with_a_plain_extension(
    tmp_path: Path, picture: Callable[[int], bytes], level: Callable[[Image.Image], int], make_tar: Packer
) -> None:
    source = one(make_tar(tmp_path / "s.tar", {"a.seg.png": picture(9), "a.jpg": picture(1), "a.depth.tif": picture(8)}))
    assert source.ids == ("s/a",)
    assert level(source.read(0)) == 1


def test_without_a_plain_extension_all_images_count(tmp_path: Path, picture: Callable[[int], bytes], make_tar: Packer) -> None:
    source = one(
        make_tar(tmp_path / "s.tar", {"a.left.png": picture(1), "a.right.png": picture(2), "2.5.jpg": picture(3), "b.png": picture(4)})
    )
    assert source.ids == ("s/2.5.jpg", "s/a.left.png", "s/a.right.png", "s/b")


def test_a_sample_with_two_images_is_refused(tmp_path: Path, picture: Callable[[int], bytes], make_tar: Packer) -> None:
    path = make_tar(tmp_path / "s.tar", {"d/a.png": picture(1), "d/a.jpg": picture(2)})
    with pytest.raises(TokbenchError, match=r"the sample d/a of .*s\.tar has several images: d/a\.png, d/a\.jpg; one is allowed: rename"):
        one(path)


def test_of_two_members_with_one_name_the_later_counts(
    tmp_path: Path, picture: Callable[[int], bytes], level: Callable[[Image.Image], int], make_tar: Packer
) -> None:
    source = one(make_tar(tmp_path / "s.tar", {"./a.png": picture(1), "a.png": picture(2)}))
    assert source.ids == ("s/a",)
    assert level(source.read(0)) == 2


def test_hidden_members_and_links_are_left_out(tmp_path: Path, picture: Callable[[int], bytes], make_tar: Packer) -> None:
    path = make_tar(tmp_path / "s.tar", {"./a.png": picture(1), "._a.png": b"", "./.b/c.png": picture(2), "__MACOSX/d.png": b""})
    with tarfile.open(path, "a") as archive:
        for name, kind in (("l.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE), ("d.png", tarfile.DIRTYPE), ("f.png", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "a.png"
            archive.addfile(member)
    assert one(path).ids == ("s/a",)


def test_dangerous_names_are_only_ids(
    tmp_path: Path, picture: Callable[[int], bytes], level: Callable[[Image.Image], int], make_tar: Packer
) -> None:
    source = one(make_tar(tmp_path / "s.tar", {"../up.png": picture(1), "/tmp/root.png": picture(2)}))
    assert source.ids == ("s/../up", "s//tmp/root")
    assert [level(source.read(0)), level(source.read(1))] == [1, 2]
    assert [path.name for path in tmp_path.rglob("*")] == ["s.tar"]


@pytest.mark.parametrize("dialect", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_dialects_with_long_names(
    dialect: int, tmp_path: Path, picture: Callable[[int], bytes], level: Callable[[Image.Image], int]
) -> None:
    names = ["d" * 90 + "/" + "n" * 90 + ".png", "short.png"] + (["ü" * 60 + ".png"] if dialect != tarfile.USTAR_FORMAT else [])
    with tarfile.open(tmp_path / "s.tar", "w", format=dialect) as archive:
        for number, name in enumerate(names):
            member = tarfile.TarInfo(name)
            member.size = len(picture(number))
            archive.addfile(member, io.BytesIO(picture(number)))
    source = one(tmp_path / "s.tar")
    assert source.ids == tuple(sorted(f"s/{name[:-4]}" for name in names))
    assert [level(source.read(source.ids.index(f"s/{name[:-4]}"))) for name in names] == list(range(len(names)))


def test_shards_of_several_folders_keep_apart(
    tmp_path: Path, picture: Callable[[int], bytes], level: Callable[[Image.Image], int], make_tar: Packer
) -> None:
    paths = []
    for number, folder in enumerate(("train", "val")):
        (tmp_path / folder).mkdir()
        paths.append(make_tar(tmp_path / folder / "00.tar", {"a.png": picture(number)}))
    source = ShardSource(paths, "00.tar")
    assert source.ids == ("train/00/a", "val/00/a")
    assert [level(source.read(0)), level(source.read(1))] == [0, 1]


def test_a_tar_cut_anywhere_is_refused(tmp_path: Path, picture: Callable[[int], bytes], make_tar: Packer) -> None:
    """Also between two members, where tarfile would serve the complete ones in silence. Of the end marker one block must be there."""
    path = make_tar(tmp_path / "s.tar", {"a.png": picture(1), "b.png": picture(2)})
    data = path.read_bytes()
    content = 2 * (512 + 512)
    assert len(data) > content
    for length in {*range(0, content + 512, 61), *range(0, content + 1, 512), 1, content + 511}:
        path.write_bytes(data[:length])
        with pytest.raises(TokbenchError, match=r"s\.tar is not a whole tar file \(.+\); copy"):
            one(path)
    path.write_bytes(data[: content + 512])
    assert len(one(path)) == 2


def test_a_damaged_header_is_refused(tmp_path: Path, picture: Callable[[int], bytes], make_tar: Packer) -> None:
    path = make_tar(tmp_path / "s.tar", {"a.png": picture(1), "b.png": picture(2)})
    whole = path.read_bytes()
    for start, fault in ((0, "bad checksum"), (1024, "the header at byte 1024 is damaged")):
        data = bytearray(whole)
        data[start] ^= 1
        path.write_bytes(data)
        with pytest.raises(TokbenchError, match=rf"s\.tar is not a whole tar file \({fault}\); copy"):
            one(path)


def test_joined_tars_are_refused(tmp_path: Path, picture: Callable[[int], bytes], make_tar: Packer) -> None:
    first, second = make_tar(tmp_path / "1.tar", {"a.png": picture(1)}), make_tar(tmp_path / "2.tar", {"b.png": picture(2)})
    first.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(TokbenchError, match="data follow its end marker, as when tar files are joined with cat"):
        one(first)


def test_no_images(tmp_path: Path, make_tar: Packer) -> None:
    paths = [make_tar(tmp_path / f"{number}.tar", files) for number, files in enumerate(({}, {"a.txt": b"a"}))]
    for path in paths:
        with pytest.raises(TokbenchError, match=rf"no images in {path}; images are"):
            one(path)
    with pytest.raises(TokbenchError, match="no images in the 2 tar files of set; images are"):
        ShardSource(paths, "set")


def test_what_is_not_a_tar_is_refused(tmp_path: Path, picture: Callable[[int], bytes]) -> None:
    for data in (b"", b"hello", picture(1), b"x" * 2000):
        (tmp_path / "s.tar").write_bytes(data)
        with pytest.raises(TokbenchError, match=r"s\.tar is not a whole tar file \(.+\); copy or download it again"):
            one(tmp_path / "s.tar")
    with pytest.raises(TokbenchError, match=r"none\.tar does not exist"):
        one(tmp_path / "none.tar")


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz"])
def test_a_compressed_tar_under_the_name_of_a_plain_one_is_refused(compression: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", f"w:{compression}"):  # type: ignore[call-overload]
        pass
    with pytest.raises(TokbenchError, match=r"s\.tar is a compressed tar, .*; decompress it to a plain \.tar"):
        one(tmp_path / "s.tar")


def test_a_shard_that_shrinks_is_unreadable(tmp_path: Path, picture: Callable[[int], bytes], make_tar: Packer) -> None:
    path = make_tar(tmp_path / "s.tar", {"a.png": picture(1)})
    source = one(path)
    path.write_bytes(path.read_bytes()[:520])
    with pytest.raises(UnreadableImage, match="become shorter"):
        source.read(0)
    path.unlink()
    with pytest.raises(UnreadableImage, match="No such file") as caught:
        source.raw_digest(0)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("a.tar", ["a.tar"]),
        ("s-{0008..0010}.tar", ["s-0008.tar", "s-0009.tar", "s-0010.tar"]),
        ("s-{8..10}.tar", ["s-8.tar", "s-9.tar", "s-10.tar"]),
        ("{train,val}/{0..1}.tar", ["train/0.tar", "train/1.tar", "val/0.tar", "val/1.tar"]),
        ("s-{7..7}.tar", ["s-7.tar"]),
    ],
)
def test_braces(pattern: str, paths: list[str]) -> None:
    assert list(expand_braces(pattern)) == paths


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("s-{0..a}.tar", r"s-\{0\.\.a\}\.tar is not a pattern of shards; write \{0000\.\.0003\} or \{train,val\}"),
        ("s-{0000-0003}.tar", "is not a pattern of shards"),
        ("s-{0..3.tar", "is not a pattern of shards"),
        ("s-{3..0}.tar", r"\{3\.\.0\} counts down; write \{0\.\.3\}"),
    ],
)
def test_wrong_braces(pattern: str, message: str) -> None:
    with pytest.raises(TokbenchError, match=message):
        list(expand_braces(pattern))


def test_braces_are_written_out_lazily() -> None:
    assert next(iter(expand_braces("{0..999999999999}.tar"))) == "0.tar"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, 3071), st.integers(1, 255)), min_size=1, max_size=3))
def test_damage_is_an_error_of_ours(
    flips: list[tuple[int, int]], tmp_path: Path, picture: Callable[[int], bytes], make_tar: Packer
) -> None:
    path = make_tar(tmp_path / "s.tar", {"a.png": picture(1), "b.png": picture(2)})
    data = bytearray(path.read_bytes())
    for position, mask in flips:
        data[position] ^= mask
    path.write_bytes(data)
    try:
        source = one(path)
    except TokbenchError:
        return
    for index in range(len(source)):
        with suppress(UnreadableImage):
            source.read(index)


def test_samples_of_one_id_are_refused(tmp_path: Path, picture: Callable[[int], bytes], make_tar: Packer) -> None:
    """A folder in one shard and another shard may have one name; and so may what is not UTF-8 once it is escaped."""
    (tmp_path / "a").mkdir()
    paths = [make_tar(tmp_path / "a.tar", {"b/c.png": picture(1)}), make_tar(tmp_path / "a" / "b.tar", {"c.png": picture(2)})]
    with pytest.raises(TokbenchError, match=r"^two images of both have one id, a/b/c; rename one of them$"):
        ShardSource(paths, "both")
    path = make_tar(tmp_path / "s.tar", {"caf\\xe9.png": picture(3), "caf\udce9.png": picture(4)})
    with pytest.raises(TokbenchError, match=r"^two images of s.tar have one id, caf\\xe9; rename one of them$"):
        ShardSource([path], "s.tar")
