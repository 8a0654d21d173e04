"""Labels and captions of images, whatever the images are kept in; no image is decoded for them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokbench.data.annotations import LARGEST_LABEL, as_caption, as_label, json_fields
from tokbench.data.columns import Classes, caption_column, class_names, label_column
from tokbench.data.open import open_source
from tokbench.data.shards import ShardSource
from tokbench.data.source import ImageSource
from tokbench.data.table import TableSource
from tokbench.errors import TokbenchError

Packer = Callable[[Path, Mapping[str, bytes]], Path]

NOTES: dict[str, tuple[int | None, str | None]] = {
    "a": (2, "a grey cat"),
    "b": (0, "über «alles»"),
    "c": (None, None),
    "d": (1, "two\nlines"),
    "e": (2, None),
}
"""Label and caption of five images that are no images."""


@pytest.fixture(params=["folder", "zip", "tar", "tar with json", "tar with several images", "parquet", "parquet of texts", "hub"])
def described(
    request: pytest.FixtureRequest, tmp_path: Path, make_folder: Packer, make_zip: Packer, make_tar: Packer
) -> tuple[ImageSource, dict[str, tuple[int | None, str | None]], tuple[str, ...]]:
    """A source, what it should say of every id, and the names of its classes."""
    kind = request.param
    labels, captions = [label for label, _ in NOTES.values()], [caption for _, caption in NOTES.values()]
    texts = {f"d/{key}.txt": f" {caption}\n".encode() for key, (_, caption) in NOTES.items() if caption is not None}
    images = {f"d/{key}.png": b"broken" for key in NOTES}
    if kind in ("folder", "zip"):
        make, end = (make_folder, "") if kind == "folder" else (make_zip, ".zip")
        source = open_source(str(make(tmp_path / f"set{end}", images | texts | {"d/x.txt": b"of no image"})), size=32)
        return source, {f"d/{key}.png": (None, caption) for key, (_, caption) in NOTES.items()}, ()
    if kind == "tar":
        classes = {f"d/{key}.cls": f"{-1 if label is None else label}\n".encode() for key, (label, _) in NOTES.items()}
        return (
            open_source(str(make_tar(tmp_path / "s.tar", classes | images | texts)), size=32),
            {f"s/d/{k}": v for k, v in NOTES.items()},
            (),
        )
    if kind == "tar with json":
        fields = {f"d/{k}.JSON": json.dumps({"label": v[0], "caption": v[1], "width": 5}).encode() for k, v in NOTES.items()}
        return open_source(str(make_tar(tmp_path / "s.tar", fields | images)), size=32), {f"s/d/{k}": v for k, v in NOTES.items()}, ()
    if kind == "tar with several images":
        files = {"a.left.png": b"", "a.right.png": b"", "a.cls": b"7", "a.txt": b"a pair", "b.png": b""}
        expected = {"s/a.left.png": (7, "a pair"), "s/a.right.png": (7, "a pair"), "s/b": (None, None)}
        return open_source(str(make_tar(tmp_path / "s.tar", files)), size=32), expected, ()
    cells = [{"bytes": b"broken", "path": key} for key in NOTES]
    names = ("bird", "cat", "dog")
    if kind == "hub":
        datasets = pytest.importorskip("datasets")
        features = {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=names),
            "captions": datasets.List(datasets.Value("string")),
        }
        lists = [[] if caption is None else [caption, "another"] for caption in captions]
        rows = datasets.Dataset.from_dict({"image": cells, "label": labels, "captions": lists}, features=datasets.Features(features))
        rows.save_to_disk(str(tmp_path / "set"))
        return open_source(f"hf:{tmp_path / 'set'}:train", size=32), NOTES, names
    spoken = [None if label is None else names[label] for label in labels]
    columns = {"image": cells, "cls" if kind == "parquet" else "class": labels if kind == "parquet" else spoken, "txt": captions}
    pq.write_table(pa.table(columns), tmp_path / "set.parquet", row_group_size=2)
    return open_source(str(tmp_path / "set.parquet"), size=32), NOTES, () if kind == "parquet" else names


def test_every_kind_of_source_has_them(described: tuple[ImageSource, dict[str, tuple[int | None, str | None]], tuple[str, ...]]) -> None:
    source, expected, names = described
    assert source.has_captions
    assert source.has_labels == any(label is not None for label, _ in expected.values())
    assert source.label_names == names
    for again in (source, pickle.loads(pickle.dumps(source))):
        assert {name: (again.label(index), again.caption(index)) for index, name in enumerate(again.ids)} == expected
    with ThreadPoolExecutor(8) as threads:
        indices = list(range(len(source))) * 40
        assert list(threads.map(source.caption, indices)) == [expected[source.ids[index]][1] for index in indices]
        assert list(threads.map(source.label, indices)) == [expected[source.ids[index]][0] for index in indices]


@pytest.mark.parametrize("kind", ["photos", "folder", "zip", "tar", "parquet"])
def test_a_source_without_them_says_so(kind: str, tmp_path: Path, make_folder: Packer, make_zip: Packer, make_tar: Packer) -> None:
    files = {"d/a.png": b"", "d/b.png": b"", "d/a.md": b"of no use", "d/a.json": b'{"width": 5}', "d/c.txt": b"of no image"}
    spec = "photos"
    if kind == "parquet":
        columns = {"image": [b""], "label": [0.5], "labels": [[1, 2]], "text": [7], "captions": [[3]]}
        pq.write_table(pa.table(columns), tmp_path / "set.parquet")
        spec = str(tmp_path / "set.parquet")
    elif kind != "photos":
        make, end = {"folder": (make_folder, ""), "zip": (make_zip, ".zip"), "tar": (make_tar, ".tar")}[kind]
        spec = str(make(tmp_path / f"set{end}", files | ({} if kind != "tar" else {"d/c.txt": b"", "d/b.txt.png": b""})))
    source = open_source(spec, size=64)
    if kind == "tar":  # c has a text, but no image
        assert source.ids == ("set/d/a", "set/d/b")
    assert (source.has_labels, source.label_names, source.has_captions) == (False, (), False)
    assert (source.label(0), source.caption(0)) == (None, None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), (-1, None), (b"-1", None), (0, 0), (b"3", 3), (b" 12\r\n", 12), ("007", 7), (LARGEST_LABEL, LARGEST_LABEL)],
)
def test_labels_are_whole_numbers(value: object, expected: int | None) -> None:
    assert as_label(value, "a of set") == expected


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"cat\n", r"'cat\\n'"),
        (b"", "''"),
        (b"\xff", r"'\\\\xff'"),
        (b"3.0", "'3.0'"),
        (b"1_0", "'1_0'"),
        ("٣", "'٣'"),
        (3.0, "3.0"),
        (-1.0, "-1.0"),
        (True, "True"),
        (-2, "-2"),
        (LARGEST_LABEL + 1, "2147483648"),
        (b"9" * 5000, "'99999"),
        ([1], r"\[1\]"),
        ("x" * 1000, r"'x{35}\.\.\."),
    ],
)
def test_labels_that_are_none_are_refused_by_name(value: object, shown: str) -> None:
    message = (
        f"^the label of a of set is {shown}.*, not a whole number from 0 to 2147483647; mend it, or leave labels out with --labels none$"
    )
    with pytest.raises(TokbenchError, match=message) as caught:
        as_label(value, "a of set")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (b"", None),
        (" \n", None),
        ("\ufeffa cat\n".encode(), "a cat"),
        ([], None),
        (["one", "two"], "one"),
        ([None], None),
        ("ü", "ü"),
    ],
)
def test_captions_are_texts(value: object, expected: str | None) -> None:
    assert as_caption(value, "a of set") == expected


@pytest.mark.parametrize(
    ("value", "fault"),
    [(b"\xff\xfe", "is not UTF-8"), ("\ud800", "is not UTF-8"), (5, "is 5, not a text"), ({"en": "cat"}, "is {'en': 'cat'}, not")],
)
def test_captions_that_are_none_are_refused_by_name(value: object, fault: str) -> None:
    with pytest.raises(TokbenchError, match=f"^the caption of a of set {fault}.*; mend it, or remove it$"):
        as_caption(value, "a of set")


@pytest.mark.parametrize(
    ("data", "fault"),
    [(b"{", "not JSON"), (b"\xff", "not JSON"), (b"[" * 100_000, "not JSON"), (b"[1]", r"\[1\], not an object"), (b"", "not JSON")],
)
def test_json_that_is_none_is_refused_by_name(data: bytes, fault: str) -> None:
    with pytest.raises(TokbenchError, match=rf"^the \.json of a of set is {fault}.*; mend it, or remove it$"):
        json_fields(data, "a of set")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"b.cls": b"cat"}, r"the label of s/b of s\.tar is 'cat', not a whole number"),
        ({"b.json": b'{"label": "cat"}'}, r"the label of s/b of s\.tar is 'cat', not a whole number"),
        ({"b.json": b"{"}, r"the \.json of s/b of s\.tar is not JSON"),
        ({"b.txt": b"\xff"}, r"the caption of s/b of s\.tar is not UTF-8"),
        ({"b.json": b'{"caption": 5}'}, r"the caption of s/b of s\.tar is 5, not a text"),
    ],
)
def test_bad_members_of_a_tar(files: dict[str, bytes], message: str, tmp_path: Path, make_tar: Packer) -> None:
    first = {"a.png": b"", "a.json": b'{"label": 1, "caption": "a"}', "b.png": b""}
    source = open_source(str(make_tar(tmp_path / "s.tar", first | files)), size=32)
    assert (source.label(0), source.caption(0)) == (1, "a")
    with pytest.raises(TokbenchError, match=message):
        print(source.label(1), source.caption(1))


def test_any_json_may_have_the_field(tmp_path: Path, make_tar: Packer) -> None:
    files = {"a.png": b"", "b.png": b"", "b.json": b'{"caption": "b"}', "c.png": b"", "c.json": b'{"text": "c", "cls": 7}'}
    source = open_source(str(make_tar(tmp_path / "s.tar", files)), size=32)
    assert (source.has_labels, source.has_captions) == (True, True)
    assert [source.label(index) for index in range(3)] == [None, None, 7]
    assert [source.caption(index) for index in range(3)] == [None, "b", "c"]


def test_a_member_of_its_own_counts_more_than_a_field(tmp_path: Path, make_tar: Packer) -> None:
    fields = b'{"caption": "from json", "label": 1}'
    files = {"a.png": b"", "a.json": fields, "b.png": b"", "b.json": fields, "b.txt": b"from txt", "b.cls": b"2"}
    source = open_source(str(make_tar(tmp_path / "s.tar", files)), size=32)
    assert [(source.label(index), source.caption(index)) for index in range(2)] == [(1, "from json"), (2, "from txt")]


def test_opening_a_tar_reads_no_member(tmp_path: Path, make_tar: Packer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ShardSource, "_read", None)
    source = open_source(str(make_tar(tmp_path / "s.tar", {"a.png": b"", "a.cls": b"cat", "a.txt": b"\xff"})), size=32)
    assert (source.has_labels, source.has_captions) == (True, True)


def test_a_tar_that_shrinks_is_one_line(tmp_path: Path, make_tar: Packer) -> None:
    path = make_tar(tmp_path / "s.tar", {"a.png": b"", "a.cls": b"3"})
    source = open_source(str(path), size=32)
    path.write_bytes(path.read_bytes()[:1024])
    with pytest.raises(
        TokbenchError, match=r"the \.cls of s/a of s\.tar cannot be read \(the tar file has become shorter .*\); copy the tar"
    ):
        source.label(0)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_bad_text_files_beside_images(kind: str, tmp_path: Path, make_folder: Packer, make_zip: Packer) -> None:
    files = {"a.png": b"", "a.txt": b"fine", "b.png": b"", "b.txt": b"\xff"}
    path = make_folder(tmp_path / "set", files) if kind == "folder" else make_zip(tmp_path / "set.zip", files)
    source = open_source(str(path), size=32)
    assert source.caption(0) == "fine"
    with pytest.raises(TokbenchError, match=r"the caption of b\.png of set(\.zip)? is not UTF-8; mend it, or remove it"):
        source.caption(1)
    if kind == "folder":
        (path / "b.txt").unlink()
        assert source.caption(1) is None
        (path / "b.txt").mkdir()
        with pytest.raises(TokbenchError, match=r"the caption of b\.png of set cannot be read \(it is a folder, not a file\)"):
            source.caption(1)


def broken_texts(*values: bytes) -> pa.Array:
    """A column of texts that says it is UTF-8."""
    ends = pa.array([0, *(sum(map(len, values[: i + 1])) for i in range(len(values)))], pa.int32())
    return pa.Array.from_buffers(pa.string(), len(values), [None, ends.buffers()[1], pa.py_buffer(b"".join(values))])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [0, -2, 5]}, r"the label of 00000001 of set\.parquet is -2, not a whole number from 0 to 2147483647"),
        ({"label": pa.array([1, 2**63, None], pa.uint64())}, r"the label of 00000001 of set\.parquet is 9223372036854775808, not"),
        ({"label": [0, 1, 2**31]}, r"the label of 00000002 of set\.parquet is 2147483648, not"),
        ({"label": broken_texts(b"a", b"b\xff", b"a")}, r"the label of 00000001 of set\.parquet is not UTF-8; mend it, or leave"),
        ({"text": broken_texts(b"a", b"b", b"c\xff")}, r"the caption of 00000002 of set\.parquet is not UTF-8; mend it"),
    ],
)
def test_bad_cells_of_a_table(columns: dict[str, Any], message: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b""] * 3} | columns), tmp_path / "set.parquet", row_group_size=1)
    source = TableSource(tmp_path / "set.parquet")
    with pytest.raises(TokbenchError, match=message):
        print([(source.label(index), source.caption(index)) for index in range(3)])


def test_a_damaged_column_is_one_line(tmp_path: Path) -> None:
    columns = {"image": [b"", b""], "label": [1, 2], "text": ["one", "two"]}
    path = tmp_path / "set.parquet"
    pq.write_table(pa.table(columns), path, use_dictionary=False, compression="none", row_group_size=1)
    group = pq.ParquetFile(path).metadata.row_group(1)
    data = bytearray(path.read_bytes())
    for column in (1, 2):
        start = group.column(column).data_page_offset
        data[start : start + 12] = b"\xff" * 12
    path.write_bytes(data)
    source = TableSource(path)
    assert source.caption(0) == "one"
    with pytest.raises(TokbenchError, match=r"the caption of 00000001 of set\.parquet cannot be read \(.+\); mend it"):
        source.caption(1)
    with pytest.raises(TokbenchError, match=r"column label of set\.parquet cannot be read \(.+\); copy or download it again"):
        source.label(0)


def test_a_table_s_captions_are_read_row_group_by_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {"image": [b""] * 6, "label": list(range(6)), "text": [f"caption {row}" for row in range(6)]}
    pq.write_table(pa.table(columns), tmp_path / "set.parquet", row_group_size=3)
    source = TableSource(tmp_path / "set.parquet")
    reads = []
    read = pq.ParquetFile.read_row_group

    def spy(self: pq.ParquetFile, group: int, **options: Any) -> pa.Table:
        reads.append((group, options["columns"]))
        return read(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spy)
    assert (source.has_labels, source.has_captions, reads) == (True, True, [])
    assert [source.caption(index) for index in range(6)] == columns["text"]
    assert reads == [(0, ["text"]), (1, ["text"])]
    assert [source.label(index) for index in (5, 0, 3)] == [5, 0, 3]
    assert reads[2:] == [(0, ["label"]), (1, ["label"])]


@pytest.mark.parametrize(
    ("columns", "label", "caption"),
    [
        ({"labels": [1], "class": [1], "txt": ["a"], "text": ["b"]}, "labels", "text"),
        ({"label": [0.5], "cls": [1], "caption": [1], "captions": [["a"]]}, "cls", "captions"),
        ({"label": ["cat"], "caption": pa.array(["a"], pa.large_string())}, "label", "caption"),
        ({"label": pa.array(["cat"]).dictionary_encode()}, "label", None),
        ({"label": [True], "text": [b"a"], "other": ["a"]}, None, None),
    ],
)
def test_columns_are_found_by_name_and_type(columns: dict[str, Any], label: str | None, caption: str | None) -> None:
    schema = pa.table(columns).schema
    assert (label_column(schema), caption_column(schema)) == (label, caption)


def test_two_columns_of_one_name_are_none() -> None:
    assert label_column(pa.schema([("label", pa.int64()), ("label", pa.int64()), ("cls", pa.int8())])) == "cls"


def test_names_of_classes_come_from_what_datasets_stores(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"image": [{"bytes": b"", "path": None}] * 3, "label": [1, 0, -1]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "set.parquet"))
    source = TableSource(tmp_path / "set.parquet")
    assert source.label_names == ("cat", "dog")
    assert [source.label(index) for index in range(3)] == [1, 0, None]
    table = pq.read_table(tmp_path / "set.parquet")
    pq.write_table(table.set_column(1, "label", [[0, 1, 2]]), tmp_path / "more.parquet")
    with pytest.raises(TokbenchError, match=r"the label of 00000002 of more\.parquet is 2, not a whole number from 0 to 1;"):
        print(TableSource(tmp_path / "more.parquet").label(0))


@pytest.mark.parametrize(
    "stored", [b"{", b"[]", b"null", b'{"info": {"features": {"label": {"names": [1]}}}}', b'{"info": {"features": []}}']
)
def test_names_of_classes_that_are_damaged_are_none(stored: bytes) -> None:
    assert class_names(pa.schema([("label", pa.int64())], metadata={b"huggingface": stored}), "label") == ()
    assert class_names(pa.schema([("label", pa.int64())]), "label") == ()


@given(parts=st.lists(st.lists(st.one_of(st.none(), st.sampled_from(["dog", "cat", "10", "9", ""])), max_size=6), max_size=4))
def test_texts_are_numbered_in_their_order(parts: list[list[str | None]]) -> None:
    cells = [cell for part in parts for cell in part]
    names = sorted({cell for cell in cells if cell is not None})
    spelled = bool(names) and set(names) <= {"9", "10"}
    for encode in (False, True):
        arrays = [pa.array(part, pa.string()).dictionary_encode() if encode else pa.array(part, pa.string()) for part in parts]
        classes = Classes(arrays, (), str)
        assert classes.names == (() if spelled else tuple(names))
        expected = [None if cell is None else int(cell) if spelled else names.index(cell) for cell in cells]
        assert [classes[row] for row in range(len(cells))] == expected


@given(
    parts=st.lists(st.lists(st.one_of(st.none(), st.integers(-1, 127)), max_size=6), max_size=4),
    kind=st.sampled_from([pa.int8(), pa.int32(), pa.int64()]),
)
def test_numbers_stay_as_they_are(parts: list[list[int | None]], kind: pa.DataType) -> None:
    cells = [cell for part in parts for cell in part]
    classes = Classes([pa.array(part, kind) for part in parts], (), str)
    assert [classes[row] for row in range(len(cells))] == [None if cell == -1 else cell for cell in cells]
    assert classes.names == ()
