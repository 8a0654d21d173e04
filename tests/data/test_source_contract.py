"""What every source of stored images promises, whatever it is kept in."""

from __future__ import annotations

import hashlib
import pickle
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tokbench.data.open import open_source, open_training_source
from tokbench.data.source import READ_BEFORE, ImageSource, touched_from
from tokbench.images import UnreadableImage

Packer = Callable[[Path, Mapping[str, bytes]], Path]
LEVELS = {"b/two.png": 2, "a.PNG": 1, "c.png": 3, "b/one.jpeg": 4, "z/y/x.webp": 5}
BROKEN = "b/broken.jpg"


@dataclass
class Case:
    """A source, and the bytes behind each of its ids."""

    spec: str
    name: str
    files: dict[str, bytes]


@pytest.fixture(params=["folder", "zip", "tar", "tars", "parquet", "parquets", "zips", "hub"])
def case(
    request: pytest.FixtureRequest, tmp_path: Path, picture: Callable[[int], bytes], make_folder: Packer, make_zip: Packer, make_tar: Packer
) -> Case:
    files = {name: picture(level) for name, level in LEVELS.items()} | {BROKEN: b"broken"}
    keys = {name.split(".")[0]: data for name, data in files.items()}
    kind = request.param
    if kind == "folder":
        return Case(str(make_folder(tmp_path / "set", files)), "set", files)
    if kind == "zip":
        return Case(str(make_zip(tmp_path / "set.zip", files)), "set.zip", files)
    if kind == "tar":
        return Case(str(make_tar(tmp_path / "set.tar", files)), "set.tar", {f"set/{key}": data for key, data in keys.items()})
    if kind == "tars":
        (tmp_path / "shards").mkdir()
        halves = [dict(list(files.items())[:2]), dict(list(files.items())[2:])]
        for number, half in enumerate(halves):
            make_tar(tmp_path / "shards" / f"{number:02d}.tar", half)
        expected = {f"{number:02d}/{name.split('.')[0]}": data for number, half in enumerate(halves) for name, data in half.items()}
        return Case(str(tmp_path / "shards"), "shards", expected)
    table = pa.table({"image": [{"bytes": data, "path": name} for name, data in files.items()], "label": list(range(len(files)))})
    if kind in ("parquets", "zips"):
        halves = [dict(list(files.items())[:3]), dict(list(files.items())[3:])]
        for number, half in enumerate(halves):
            if kind == "zips":
                make_zip(tmp_path / f"set-{number}.zip", half)
            else:
                rows = [{"bytes": data, "path": name} for name, data in half.items()]
                pq.write_table(pa.table({"image": rows}), tmp_path / f"set-{number}.parquet", row_group_size=2)
        expected = {f"set-{number}/{name}": data for number, half in enumerate(halves) for name, data in half.items()}
        name = f"set-{{0..1}}.{kind[:-1]}"
        return Case(str(tmp_path / name), name, expected)
    if kind == "parquet":
        pq.write_table(table, tmp_path / "set.parquet", row_group_size=2)
        return Case(str(tmp_path / "set.parquet"), "set.parquet", files)
    datasets = pytest.importorskip("datasets")
    request.getfixturevalue("monkeypatch").setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set").mkdir()
    pq.write_table(table, tmp_path / "set" / "test-00000-of-00001.parquet")
    return Case(f"hf:{tmp_path / 'set'}", "set:test", files)


@pytest.fixture
def source(case: Case) -> ImageSource:
    return open_source(case.spec, size=32)


def test_ids_name_and_length(case: Case, source: ImageSource) -> None:
    assert set(source.ids) == set(case.files)
    assert len(source.ids) == len(set(source.ids)) == len(source) == len(case.files)
    assert source.name == case.name
    assert source.ready_size is None
    assert [source.group(index) for index in range(len(source))] == list(source.ids)


def test_the_order_is_sorted_or_that_of_the_table(case: Case, source: ImageSource) -> None:
    is_table = case.name in ("set.parquet", "set-{0..1}.parquet", "set:test")
    assert list(source.ids) == (list(case.files) if is_table else sorted(case.files))
    assert open_training_source(case.spec).ids == source.ids


def test_pixels_belong_to_their_ids(
    case: Case, source: ImageSource, picture: Callable[[int], bytes], level: Callable[[Image.Image], int]
) -> None:
    for index in random.Random(0).sample(range(len(source)), len(source)):
        data = case.files[source.ids[index]]
        if data == b"broken":
            with pytest.raises(UnreadableImage, match="not an image"):
                source.read(index)
            with pytest.raises(UnreadableImage, match="not an image"):
                source.open(index)
        else:
            assert picture(level(source.read(index))) == data


def test_digests_are_of_the_stored_bytes(case: Case, source: ImageSource) -> None:
    for index, id_ in enumerate(source.ids):
        assert source.raw_digest(index) == hashlib.sha256(case.files[id_]).digest()
        if case.files[id_] != b"broken":
            image, digest = source.open(index)
            assert (image.tobytes(), digest) == (source.read(index).tobytes(), source.raw_digest(index))


def test_a_file_that_was_touched_is_told(source: ImageSource) -> None:
    now = time.time()
    for index in range(len(source)):
        assert source.changed_since(index, now - 3600) is True  # of a data set what the library has written of it
        assert source.changed_since(index, now + 3600) is False


def test_threads_may_read_at_once(case: Case, source: ImageSource) -> None:
    indices = random.Random(0).choices(range(len(source)), k=400)
    with ThreadPoolExecutor(8) as threads:
        digests = list(threads.map(source.raw_digest, indices))
    assert digests == [hashlib.sha256(case.files[source.ids[index]]).digest() for index in indices]


def test_a_copy_in_another_process_reads_the_same(source: ImageSource) -> None:
    source.raw_digest(0)
    copy = pickle.loads(pickle.dumps(source))
    assert copy.ids == source.ids
    assert [copy.raw_digest(index) for index in range(len(copy))] == [source.raw_digest(index) for index in range(len(source))]


FORKED = """
import os, sys, hashlib, random
from tokbench.data.open import open_source
source = open_source(sys.argv[1], size=32)
expected = [source.raw_digest(index) for index in range(len(source))]
child = os.fork()
indices = random.Random(child).choices(range(len(source)), k=1500)
wrong = 0
for index in indices:
    try:
        wrong += source.raw_digest(index) != expected[index]
    except Exception:
        wrong += 1
if child == 0:
    os._exit(wrong > 0)
sys.exit(wrong > 0 or os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0)
"""


@pytest.mark.skipif(not hasattr(sys, "getdlopenflags"), reason="needs fork")
@pytest.mark.parametrize("kind", ["zip", "parquet"])
def test_forked_processes_do_not_disturb_each_other(kind: str, tmp_path: Path, make_zip: Packer) -> None:
    """Two processes that share a file position would read what the other had sought."""
    blobs = [random.Random(number).randbytes(20_000) for number in range(40)]
    path = tmp_path / f"set.{kind}"
    if kind == "zip":
        make_zip(path, {f"{number:02d}.png": blob for number, blob in enumerate(blobs)})
    else:
        pq.write_table(pa.table({"image": blobs}), path, row_group_size=4)
    run = subprocess.run([sys.executable, "-c", FORKED, str(path)], check=False, timeout=60, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_opening_imports_neither_torch_nor_datasets(tmp_path: Path, picture: Callable[[int], bytes], make_zip: Packer) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.png": picture(1)})
    code = (
        "import sys; from tokbench.data.open import open_source; open_source(sys.argv[1], size=32).read(0);"
        "sys.exit(' '.join({'torch', 'datasets', 'pyarrow'} & set(sys.modules)) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(path)], check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_what_was_written_ahead_of_the_clock_makes_all_files_count_as_touched() -> None:
    now = time.time()
    assert touched_from(now) == now - READ_BEFORE
    assert touched_from(now, took=9000) == now - 9000 - READ_BEFORE  # a chunk may take hours
    assert touched_from(now + 20) > 0  # the clock of a file server
    assert touched_from(now + 9000) == 0
