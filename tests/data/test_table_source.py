"""Parquet files with an image column."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tokbench.bench.loader import choose
from tokbench.data.table import BATCHES_KEPT, TableSource, row_ids
from tokbench.errors import TokbenchError
from tokbench.images import UnreadableImage
from tokbench.records.protocol import get_protocol

Picture = Callable[[int], bytes]
Level = Callable[[Image.Image], int]


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "set.parquet"


def test_rows_without_names_are_numbered(path: Path, picture: Picture, level: Level) -> None:
    source = TableSource(write(path, {"image": [picture(number) for number in range(11)]}, row_group_size=3))
    assert source.ids == tuple(f"{number:08d}" for number in range(11))
    assert source.name == "set.parquet"
    for index in (10, 0, 2, 3, 9, 5, 6, 1):
        assert level(source.read(index)) == index


@pytest.mark.parametrize("column", ["image", "img", "jpg", "png", "webp", "jpeg", "picture", "anything"])
@pytest.mark.parametrize("kind", ["binary", "large_binary", "struct", "struct of large_binary"])
def test_the_column_is_found(column: str, kind: str, path: Path, picture: Picture, level: Level) -> None:
    binary = pa.large_binary() if "large" in kind else pa.binary()
    is_struct = kind.startswith("struct")
    cells = [{"path": None, "bytes": picture(number)} if is_struct else picture(number) for number in (5, 6)]
    values = pa.array(cells, pa.struct([("path", pa.string()), ("bytes", binary)]) if is_struct else binary)
    source = TableSource(write(path, {"label": [1, 2], "text": ["a", "b"], column: values}))
    assert [level(source.read(0)), level(source.read(1))] == [5, 6]
    assert source.ids == ("00000000", "00000001")


def test_a_known_name_comes_first(path: Path, picture: Picture, level: Level) -> None:
    """A column named image that holds no bytes does not count."""
    source = TableSource(
        write(path, {"mask": [picture(1)], "png": [picture(2)], "jpg": [picture(3)], "image": ["https://example.org/a.jpg"]})
    )
    assert level(source.read(0)) == 3


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [1], "text": ["a"]}, r"has no image column; its columns are: label \(int64\), text \(string\); .* rename it"),
        ({"mask": [b"a"], "photo": [b"b"]}, r"more than one possible image column; its columns are: mask \(binary\), photo \(binary\)"),
        ({"image": [{"path": "a.png"}]}, r"has no image column; its columns are: image \(struct\)"),
        ({"image": [{"bytes": "text"}]}, r"has no image column; its columns are: image \(struct\)"),
    ],
)
def test_without_an_image_column_the_columns_are_named(columns: dict[str, Any], message: str, path: Path) -> None:
    with pytest.raises(TokbenchError, match=message):
        TableSource(write(path, columns))


@pytest.mark.parametrize(
    ("columns", "ids"),
    [
        ({"image": [{"bytes": b"", "path": "b.png"}, {"bytes": b"", "path": "d/a.png"}]}, ("b.png", "d/a.png")),
        ({"image": [{"bytes": b"", "path": "/home/u/b.png"}, {"bytes": b"", "path": "a.png"}]}, ("b.png", "a.png")),
        ({"image": [{"bytes": b"", "path": "/x/a.png"}, {"bytes": b"", "path": "/y/a.png"}]}, ("00000000", "00000001")),
        ({"image": [{"bytes": b"", "path": "C:\\x\\b.png"}, {"bytes": b"", "path": "C:\\x\\a.png"}]}, ("b.png", "a.png")),
        ({"image": [{"bytes": b"", "path": "a.png"}, {"bytes": b"", "path": "a.png"}]}, ("00000000", "00000001")),
        ({"image": [{"bytes": b"", "path": "a.png"}, {"bytes": b"", "path": None}]}, ("00000000", "00000001")),
        ({"image": [{"bytes": b"", "path": "a.png"}, None]}, ("00000000", "00000001")),
        ({"jpg": [b"", b""], "__key__": ["k2", "k1"]}, ("k2", "k1")),
        ({"jpg": [b"", b""], "__key__": ["k1", "k1"]}, ("00000000", "00000001")),
        ({"jpg": [b"", b""], "__key__": [7, 8]}, ("00000000", "00000001")),
        ({"jpg": [{"bytes": b"", "path": "a"}, {"bytes": b"", "path": "a"}], "__key__": ["k2", "k1"]}, ("k2", "k1")),
        ({"image": [b"", b""], "image.path": ["b.png", "a.png"]}, ("b.png", "a.png")),
    ],
)
def test_ids_are_stored_names_where_they_are_unique(columns: dict[str, Any], ids: tuple[str, ...], path: Path) -> None:
    assert TableSource(write(path, columns)).ids == ids


def test_row_ids_take_the_first_good_column() -> None:
    assert row_ids([["a", "a"], ["x", "y"], ["p", "q"]], 2) == ("x", "y")
    assert row_ids([], 1) == ("00000000",)


def test_a_row_group_is_read_once_while_its_rows_are(path: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    source = TableSource(write(path, {"image": [picture(number) for number in range(9)]}, row_group_size=3))
    groups = []
    read = pq.ParquetFile.read_row_group

    def spy(self: pq.ParquetFile, group: int, **options: Any) -> pa.Table:
        groups.append(group)
        return read(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spy)
    for index in (0, 1, 2, 3, 5, 2, 4, 0, 6, 8, 5, 0):
        source.read(index)
    assert groups == [0, 1, 2, 0]  # threads that lag behind find the group before


def test_batches_of_a_large_row_group_are_read_once_by_threads_that_lag_behind(
    path: Path, picture: Picture, level: Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokbench.data.table.LARGE_GROUP", 5 * BATCHES_KEPT * len(picture(0)))
    source = TableSource(write(path, {"image": [picture(number) for number in range(40)]}))
    begun = []
    batches = pq.ParquetFile.iter_batches

    def spy(self: pq.ParquetFile, **options: Any) -> Any:
        begun.append(options["batch_size"])
        return batches(self, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy)
    order = [3, 0, 1, 7, 5, 2, 9, 4, 8, 12, 6, *range(13, 40), 33]
    assert [level(source.read(index)) for index in order] == order
    assert len(begun) == 1
    assert 2 < begun[0] < 6
    assert level(source.read(0)) == 0
    assert len(begun) == 2


def test_rows_are_read_in_their_own_order_whatever_they_are_called(path: Path, picture: Picture) -> None:
    names = [f"{(number * 7) % 30:02d}.png" for number in range(30)]
    table = {"image": [{"bytes": picture(number), "path": name} for number, name in enumerate(names)]}
    source = TableSource(write(path, table, row_group_size=10))
    assert choose(source, get_protocol()) == range(30)
    some = get_protocol(changes={"samples": 12, "seed": 3})
    chosen = choose(source, some)
    assert list(chosen) == sorted(chosen)
    source.own_order = False
    by_id = choose(source, some)
    assert [names[index] for index in by_id] == sorted(names[index] for index in chosen)  # which are chosen goes by ids
    assert [names[index] for index in choose(source, get_protocol())] == sorted(names)


def test_a_row_without_bytes_is_unreadable(path: Path, picture: Picture, level: Level) -> None:
    """The path beside it is that of some machine and is not followed."""
    (path.parent / "a.png").write_bytes(picture(9))
    cells = [{"bytes": None, "path": str(path.parent / "a.png")}, None, {"bytes": picture(3), "path": "b.png"}]
    source = TableSource(write(path, {"image": cells}))
    for index in (0, 1):
        with pytest.raises(UnreadableImage, match="no bytes are stored in this row"):
            source.read(index)
        with pytest.raises(UnreadableImage, match="no bytes are stored in this row"):
            source.raw_digest(index)
    assert level(source.read(2)) == 3


@pytest.mark.parametrize("kind", ["paths", "structs", "some structs"])
def test_a_file_that_a_row_names_is_looked_at_too(kind: str, path: Path, tmp_path: Path, picture: Picture) -> None:
    names = [f"{number}.png" for number in range(6)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(picture(number))
    structs = [{"bytes": picture(0) if kind == "some structs" and name in names[:3] else None, "path": name} for name in names]
    cells = pa.array(structs, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    source = TableSource(write(path, {"image": names if kind == "paths" else cells}, row_group_size=3))
    moment = max(max(file.stat().st_ctime, file.stat().st_mtime) for file in tmp_path.iterdir())
    assert [source.changed_since(index, moment) for index in range(6)] == [False] * 6
    os.utime(tmp_path / "4.png", (moment + 9, moment + 9))
    os.utime(tmp_path / "1.png", (moment + 9, moment + 9))  # beside bytes that are stored it does not matter
    assert [source.changed_since(index, moment + 5) for index in range(6)] == [False, kind != "some structs", False, False, True, False]
    (tmp_path / "5.png").unlink()
    assert source.changed_since(5, moment + 5)
    os.utime(path, (moment + 9, moment + 9))
    assert all(source.changed_since(index, moment + 5) for index in range(6))


def test_no_rows(path: Path) -> None:
    with pytest.raises(TokbenchError, match=rf"no images in {path}"):
        TableSource(write(path, {"image": pa.array([], pa.binary())}))


def test_a_file_cut_anywhere_is_refused(path: Path, picture: Picture) -> None:
    data = write(path, {"image": [picture(1), picture(2)]}).read_bytes()
    for length in {*range(0, len(data), 11), *range(len(data) - 12, len(data))}:
        path.write_bytes(data[:length])
        with pytest.raises(TokbenchError, match=r"set\.parquet is not a whole parquet file \(.+\); copy or download it again"):
            TableSource(path)


def test_a_damaged_page_is_unreadable(path: Path, picture: Picture, level: Level) -> None:
    columns = {"image": [picture(1), picture(2)]}
    data = bytearray(
        write(path, columns, row_group_size=1, use_dictionary=False, compression="none", write_page_checksum=True).read_bytes()
    )
    start = pq.ParquetFile(path).metadata.row_group(0).column(0).data_page_offset
    data[start : start + 12] = b"\xff" * 12
    path.write_bytes(data)
    source = TableSource(path)
    with pytest.raises(UnreadableImage):
        source.read(0)
    assert level(source.read(1)) == 2
