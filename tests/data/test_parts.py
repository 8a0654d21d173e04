"""Several files of one kind read as one source: names, order, labels, and how little they hold open."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tokbench.data.archives import PerProcess, ZipSource
from tokbench.data.open import open_source
from tokbench.data.parts import KEPT_OPEN, PartsSource
from tokbench.data.shards import ShardSource
from tokbench.data.table import TableSource
from tokbench.errors import TokbenchError

Packer = Callable[[Path, Mapping[str, bytes]], Path]


def table(path: Path, pictures: Sequence[bytes], **columns: Sequence[object]) -> Path:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"image": pictures, **columns}), path, row_group_size=2)
    return path


def open_files(folder: Path) -> int:
    """How many files below a folder this process holds open."""
    found = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    return sum(name.startswith(str(folder)) for name in found)


def test_rows_of_several_tables_come_in_order_under_the_names_of_their_files(
    tmp_path: Path, picture: Callable[[int], bytes], level: Callable[[Image.Image], int]
) -> None:
    for number in (2, 10, 1):
        table(tmp_path / f"p-{number:02d}.parquet", [picture(number * 5 + row) for row in range(3)])
    source = open_source(str(tmp_path / "p-{02,10}.parquet"), size=64)
    assert isinstance(source, PartsSource)
    assert source.ids == [f"p-{part}/{row:08d}" for part in ("02", "10") for row in range(3)]
    assert [level(source.read(index)) for index in range(6)] == [10, 11, 12, 50, 51, 52]
    assert source.name == "p-{02,10}.parquet"
    three = open_source(f"{tmp_path / 'p-01.parquet'}::{tmp_path / 'p-{02..02}.parquet'}::{tmp_path / 'p-10.parquet'}", size=64)
    assert len(three) == 9
    assert three.name == "p-01.parquet::p-{02..02}.parquet::p-10.parquet"


def test_files_may_be_given_by_their_addresses(tmp_path: Path, picture: Callable[[int], bytes], make_tar: Packer) -> None:
    for name in ("a-0", "a-1"):
        make_tar(tmp_path / f"{name}.tar", {"x.png": picture(1)})
    plain = open_source(f"{tmp_path}/a-{{0..1}}.tar", size=64)
    for spec in (
        f"file:{tmp_path}/a-{{0..1}}.tar",
        f"file://{tmp_path}/a-{{0..1}}.tar",
        f"file:{tmp_path}/a-0.tar::file:{tmp_path}/a-1.tar",
    ):
        assert open_source(spec, size=64).ids == plain.ids
    assert open_source(f"file:{tmp_path}/a-0.tar", size=64).name == "a-0.tar"


def test_tars_may_be_given_one_after_another(tmp_path: Path, picture: Callable[[int], bytes], make_tar: Packer) -> None:
    for name in ("a", "b"):
        make_tar(tmp_path / f"{name}.tar", {f"{name}.png": picture(1)})
    source = open_source(f"{tmp_path}/b.tar::{tmp_path}/a.tar", size=64)
    assert isinstance(source, ShardSource)
    assert source.ids == ("a/a", "b/b")


@pytest.mark.parametrize("kind", ["parquet", "zip"])
def test_only_a_few_files_stay_open(kind: str, tmp_path: Path, picture: Callable[[int], bytes], make_zip: Packer) -> None:
    paths = []
    for number in range(3 * KEPT_OPEN):
        path = tmp_path / f"{number:02d}.{kind}"
        paths.append(make_zip(path, {"a.png": picture(number)}) if kind == "zip" else table(path, [picture(number)]))
    source = PartsSource(paths, "set", ZipSource if kind == "zip" else TableSource)
    assert open_files(tmp_path) == 0
    for index in range(len(source)):
        source.read(index)
        assert open_files(tmp_path) <= KEPT_OPEN
    assert source.read_bytes(0) == picture(0)  # what was let go of is opened again
    source.release()
    assert open_files(tmp_path) == 0


def test_threads_that_jump_between_parts_read_what_is_there(tmp_path: Path, picture: Callable[[int], bytes]) -> None:
    paths = [table(tmp_path / f"{number:02d}.parquet", [picture(2 * number), picture(2 * number + 1)]) for number in range(10)]
    source = PartsSource(paths, "set", TableSource)
    asked = [(index * 7) % 20 for index in range(100)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(source.read_bytes, asked)) == [picture(index) for index in asked]


def test_a_file_is_closed_only_when_nobody_holds_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello")
    shared = PerProcess((tmp_path / "file").open)
    closing = threading.Thread(target=shared.close)
    with shared.use() as file:
        closing.start()
        closing.join(0.05)
        assert closing.is_alive()
        assert file.read() == "hello"
    closing.join()
    assert file.closed
    with shared.use() as again:
        assert again.read() == "hello"


def test_classes_of_all_parts_have_one_numbering(tmp_path: Path, picture: Callable[[int], bytes]) -> None:
    paths = [
        table(tmp_path / "0.parquet", [picture(0), picture(1)], label=["cat", "ant"]),
        table(tmp_path / "1.parquet", [picture(2), picture(3)], label=["bee", "cat"]),
    ]
    source = PartsSource(paths, "set", TableSource)
    assert source.has_labels
    assert source.label_names == ("ant", "bee", "cat")
    assert [source.label(index) for index in range(4)] == [2, 0, 1, 2]
    alike = PartsSource(
        [table(tmp_path / f"n{number}.parquet", [picture(0)], label=[number + 3]) for number in range(2)], "set", TableSource
    )
    assert (alike.label_names, [alike.label(index) for index in range(2)]) == ((), [3, 4])


def test_numbers_beside_names_of_classes_are_refused(tmp_path: Path, picture: Callable[[int], bytes]) -> None:
    paths = [table(tmp_path / "0.parquet", [picture(0)], label=[3]), table(tmp_path / "1.parquet", [picture(2)], label=["bee"])]
    source = PartsSource(paths, "set", TableSource)
    with pytest.raises(
        TokbenchError, match=r"^labels of 0\.parquet are numbers, and those of 1\.parquet have names; give parts that agree"
    ):
        print(source.label(0))


def test_captions_come_from_the_parts(tmp_path: Path, picture: Callable[[int], bytes]) -> None:
    paths = [table(tmp_path / "0.parquet", [picture(0)], text=["one"]), table(tmp_path / "1.parquet", [picture(2)], other=["two"])]
    source = PartsSource(paths, "set", TableSource)
    assert source.has_captions
    assert [source.caption(index) for index in range(2)] == ["one", None]
    assert source.unused_columns == ("other",)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{here}/a.tar::{here}/a.zip", r"names files of several kinds \(\.tar, \.zip\); give shards of one kind"),
        ("{here}/a.zip::{here}/a.zip", r"a\.zip is there twice among the parts of a\.zip::a\.zip; give each once"),
        ("{here}/a.zip::{here}/none.zip", r"the shard .*none\.zip of .* does not exist"),
        ("::", r"--data :: names files of several kinds \(none\)"),
        ("https://example.org/{{00..10}}.tar", r"would be a stream, which has no index to choose images by; allowed are files"),
        ("{here}/a.tar::{here}/a.tar", r"a\.tar is there twice among the parts of a\.tar::a\.tar; give each once"),
        ("pipe:cat a.tar", r"would be a stream"),
        ("hdfs://place/{{00..10}}.tar", r"would be a stream"),
        ("file:{here}/none.tar", r"none\.tar does not exist"),
        ("{here}/a-*.tar", r"a-\*\.tar is a pattern of the shell; give the folder, or a range as in shards-\{0000\.\.0003\}\.tar"),
        ("s3://bucket/a.tar", r"would be a stream"),
    ],
)
def test_what_cannot_be_read_as_one_is_refused(
    spec: str, message: str, tmp_path: Path, picture: Callable[[int], bytes], make_zip: Packer, make_tar: Packer
) -> None:
    make_zip(tmp_path / "a.zip", {"a.png": picture(1)})
    make_tar(tmp_path / "a.tar", {"a.png": picture(1)})
    with pytest.raises(TokbenchError, match=message):
        open_source(spec.format(here=tmp_path), size=64)


def test_two_images_with_one_id_are_refused(tmp_path: Path, picture: Callable[[int], bytes], make_zip: Packer) -> None:
    (tmp_path / "x").mkdir()
    make_zip(tmp_path / "x.zip", {"a/b.png": picture(1), "c.png": picture(2)})
    make_zip(tmp_path / "x-1.zip", {"b.png": picture(1)})
    make_zip(tmp_path / "x" / "a.zip", {"b.png": picture(3)})
    make_zip(tmp_path / "x" / "d.zip", {"b.png": picture(4)})
    spec = f"{tmp_path}/x.zip::{tmp_path}/x-1.zip::{tmp_path}/x"
    with pytest.raises(TokbenchError, match=r"^images of two parts of x\.zip::x-1\.zip::a\.zip have one id, x/a/b\.png; rename"):
        open_source(f"{spec}/a.zip", size=64)
    assert open_source(f"{spec}/d.zip", size=64).ids == ("x/a/b.png", "x/c.png", "x-1/b.png", "x/d/b.png")
