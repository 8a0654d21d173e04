"""Other readers of an export see what our own sees: pandas, Hugging Face datasets, numpy."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed.dataset import TokenDataset
from tokbench.feed.export import ExportOptions, export
from tokbench.feed.memmap import write_memmap
from tokbench.feed.verify import verify
from tokbench.files import atomic_file
from tokbench.layout import TokenLayout
from tokbench.ranks import Ranks
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import ContinuousTokens, DiscreteTokens

PROTOCOL = get_protocol(changes={"size": 8, "micro_batch": 4})


class Pictures(ImageSource):
    """Noise of 8 px with labels and captions, where every fourth has none."""

    name, ready_size, ids = "pictures", 8, tuple(f"{i:03d}" for i in range(23))

    def read(self, index):
        return Image.fromarray(np.random.default_rng(index).integers(0, 256, (8, 8, 3), np.uint8))

    def raw_digest(self, index):
        return bytes([index]) * 32

    def label(self, index):
        return None if index % 4 == 0 else index

    def caption(self, index):
        return None if index % 4 == 0 else f"picture {index}"


@dataclass(frozen=True)
class PiecesConfig:
    """Codebooks; none means latents."""

    sizes: tuple[int, ...]


class Pieces(Tokenizer):
    """The bytes of 16 pixels, spread over as many codebooks as wanted."""

    def __init__(self, *sizes):
        super().__init__()
        self.config, self.name = PiecesConfig(sizes), "tests/pieces"

    def layout(self, height, width):
        return TokenLayout((height, width), (4, 4), self.config.sizes, 0 if self.config.sizes else 3)

    def _encode(self, images, seeds):
        values = images[:, :, :4, :4].flatten(2).transpose(1, 2).contiguous()
        if not self.config.sizes:
            return ContinuousTokens(values, (4, 4))
        codes = [((values[..., k % 3] + 1) / 2 * (size - 1)).round().long() for k, size in enumerate(self.config.sizes)]
        return DiscreteTokens(torch.stack(codes, -1), (4, 4), self.config.sizes)

    def _decode(self, tokens, seeds):
        raise NotImplementedError


CASES = {
    "bytes": (Pieces(256), "float32", np.uint8),
    "two codebooks": (Pieces(1000, 300), "float32", np.uint16),
    "large": (Pieces(2**18), "float32", np.uint32),
    "float16": (Pieces(), "float16", np.float16),
    "float32": (Pieces(), "float32", np.float32),
}


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    """An export in five shards, its column's name, and the values that should be in it, ``[N, L * K]``."""
    tokenizer, latents, dtype = CASES[request.param]
    folder = tmp_path / "out"
    export(tokenizer, Pictures(), folder, protocol=PROTOCOL, options=ExportOptions(rows_per_shard=5, latents=latents))
    pixels = np.stack([np.asarray(Pictures().read(i)) for i in range(23)]).astype(np.float32).transpose(0, 3, 1, 2)
    tokens = tokenizer.encode(torch.from_numpy(pixels / 127.5 - 1))
    column = "latents" if isinstance(tokens, ContinuousTokens) else "codes"
    return folder, column, getattr(tokens, column).flatten(1).numpy().astype(dtype)


def same(found, expected):
    found = np.asarray(found)
    close = found.dtype == expected.dtype and found.shape == expected.shape and np.allclose(found, expected, rtol=1e-6, atol=1e-3)
    return close and (expected.dtype.kind == "f" or (found == expected).all())


LABELS = [None if i % 4 == 0 else i for i in range(23)]
CAPTIONS = [None if i % 4 == 0 else f"picture {i}" for i in range(23)]


def test_pandas_reads_the_folder(case):
    folder, column, expected = case
    frame = pd.read_parquet(folder)
    assert same(np.stack(frame[column]), expected)
    assert frame["id"].tolist() == list(Pictures.ids)
    assert [None if np.isnan(label) else int(label) for label in frame["label"]] == LABELS
    assert [None if pd.isna(text) else text for text in frame["caption"]] == CAPTIONS


@pytest.mark.parametrize("given", ["data_dir", "data_files"])
def test_datasets_reads_the_shards(given, case, tmp_path):
    datasets = pytest.importorskip("datasets")
    folder, column, expected = case
    place = {"data_dir": str(folder)} if given == "data_dir" else {"data_files": f"{folder}/*.parquet"}
    rows = datasets.load_dataset("parquet", **place, split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["id"][:] == list(Pictures.ids)
    assert (rows["label"][:], rows["caption"][:]) == (LABELS, CAPTIONS)
    values = rows.with_format("numpy")[:][column]  # which widens them
    assert same(values.astype(expected.dtype), expected)
    assert str(rows.features[column].feature.dtype) == str(expected.dtype)


@pytest.mark.parametrize("form", ["parquet", "memmap"])
def test_our_own_data_set_reads_both_forms(form, case, tmp_path):
    folder, column, expected = case
    if form == "memmap":
        folder = write_memmap(folder, tmp_path / "mapped").parent
    rows = TokenDataset(folder)
    items = [rows[i] for i in range(len(rows))]
    wide = expected.astype(np.int64 if column == "codes" else np.float32)
    assert same(torch.stack([item[column] for item in items]).flatten(1).numpy(), wide)
    assert [item["id"] for item in items] == list(Pictures.ids)
    assert [item["label"] for item in items] == [-1 if label is None else label for label in LABELS]
    assert [item["caption"] for item in items] == [text or "" for text in CAPTIONS]


def test_numpy_maps_the_array(case, tmp_path):
    folder, column, expected = case
    calls = []
    path = write_memmap(folder, tmp_path / "mapped", progress=lambda done, total: calls.append((done, total)))
    values = np.load(path, mmap_mode="r")
    assert path.name == f"{column}.npy"
    assert isinstance(values, np.memmap)
    assert values.shape[:2] == (23, 16)
    assert same(values.reshape(23, -1), expected)
    assert (values.reshape(23, -1) == np.stack(pd.read_parquet(folder)[column])).all()
    assert calls == [(5, 23), (10, 23), (15, 23), (20, 23), (23, 23)]
    index = json.loads((path.parent / "index.json").read_text())
    assert (index["shape"], index["dtype"], index["file"]) == ([23, *values.shape[1:]], str(expected.dtype), path.name)
    assert index["summary"] == json.loads((folder / ".export.json").read_text())
    frame = pd.read_feather(path.parent / "rows.arrow")
    assert frame["id"].tolist() == list(Pictures.ids)
    assert frame["source_sha256"][3] == bytes([3]) * 32


@pytest.fixture
def exported(tmp_path):
    folder = tmp_path / "out"
    export(Pieces(256), Pictures(), folder, protocol=PROTOCOL, options=ExportOptions(rows_per_shard=5))
    return folder


def test_a_memory_map_is_written_once_and_never_mixed(exported, tmp_path):
    path = write_memmap(exported, tmp_path / "mapped")
    before = path.stat().st_mtime_ns
    assert write_memmap(exported, tmp_path / "mapped") == path
    assert path.stat().st_mtime_ns == before
    export(Pieces(128), Pictures(), tmp_path / "other", protocol=PROTOCOL)
    with pytest.raises(TokbenchError, match=r"holds tokens of another export: tokenizer\.config\.sizes is 256 there and 128 here"):
        write_memmap(tmp_path / "other", tmp_path / "mapped")
    for inside in (exported, exported / "below"):
        with pytest.raises(TokbenchError, match="whose readers expect Parquet files alone; choose another folder"):
            write_memmap(exported, inside)
    assert not (exported / "below").exists()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_memory_map_and_an_export_never_share_a_folder(exported, tmp_path):
    export(Pieces(128), Pictures(), tmp_path / "other", protocol=PROTOCOL)
    before = contents(tmp_path / "other")
    for whole in (True, False):
        if not whole:
            (tmp_path / "other" / ".export.json").unlink()
            del before[".export.json"]
        with pytest.raises(TokbenchError, match=r"other holds an export, .*; choose another folder for the memory map"):
            write_memmap(exported, tmp_path / "other")
        assert contents(tmp_path / "other") == before
    write_memmap(exported, tmp_path / "mapped")
    before = contents(tmp_path / "mapped")
    for _ in range(2):
        with pytest.raises(TokbenchError, match=r"mapped holds index\.json or rows\.arrow of a memory map, .*; choose another --out"):
            export(Pieces(256), Pictures(), tmp_path / "mapped", protocol=PROTOCOL)
        assert contents(tmp_path / "mapped") == before
        (tmp_path / "mapped" / "index.json").unlink(missing_ok=True)  # one that is not whole
        before.pop("index.json", None)


def test_a_folder_with_both_is_read_as_neither(exported, tmp_path):
    write_memmap(exported, tmp_path / "mapped")
    for path in (tmp_path / "mapped").iterdir():
        path.rename(exported / path.name)
    with pytest.raises(TokbenchError, match=r"holds an export and a memory map, .*; move index\.json, rows\.arrow and the \.npy file"):
        TokenDataset(exported)
    assert [problem for problem in verify(exported).problems if "memory map lie among the shards" in problem]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda root: root / "tokens" / "below", "whose readers expect Parquet files alone"),
        (lambda root: root / "file", "is a file; choose a folder for the memory map"),
        (lambda root: root / "file" / "map", "cannot write to"),
        (lambda root: export(Pieces(128), Pictures(), root / "other", protocol=PROTOCOL).folder, "holds an export"),
        (lambda root: mapped_of_another(root), r"holds tokens of another export: tokenizer\.config\.sizes is 128 there and 256 here"),
    ],
)
def test_where_no_memory_map_can_be_is_said_before_anything_is_encoded(make, problem, tmp_path):
    (tmp_path / "file").write_text("")
    place = make(tmp_path)
    with pytest.raises(TokbenchError, match=problem):
        export(Pieces(256), Pictures(), tmp_path / "tokens", protocol=PROTOCOL, options=ExportOptions(memmap=place))
    assert not list(tmp_path.glob("tokens/*"))


def mapped_of_another(root):
    export(Pieces(128), Pictures(), root / "other", protocol=PROTOCOL)
    return write_memmap(root / "other", root / "mapped").parent


def test_the_rank_that_finishes_writes_the_memory_map(exported, tmp_path):
    expected = write_memmap(exported, tmp_path / "expected").read_bytes()
    options = ExportOptions(rows_per_shard=5, memmap=tmp_path / "mapped")
    first, last = (
        export(Pieces(256), Pictures(), tmp_path / "ranked", protocol=PROTOCOL, options=replace(options, ranks=Ranks(rank, 2)))
        for rank in (1, 0)
    )
    assert (first.complete, first.memmap) == (False, None)
    assert (last.complete, last.memmap) == (True, tmp_path / "mapped" / "codes.npy")
    assert last.memmap.read_bytes() == expected
    assert len(TokenDataset(tmp_path / "mapped")) == 23
    (tmp_path / "mapped" / "index.json").unlink()
    with atomic_file(tmp_path / "mapped" / "codes.npy") as file:  # as another rank that finishes at the same time
        file.write(expected)
        again = export(Pieces(256), Pictures(), tmp_path / "ranked", protocol=PROTOCOL, options=options)
    assert (again.complete, again.memmap) == (True, None)


def test_whoever_writes_the_summary_writes_the_memory_map(exported, tmp_path):
    (exported / ".export.json").unlink()
    options = ExportOptions(rows_per_shard=5, memmap=tmp_path / "mapped")
    with atomic_file(exported / ".export.json") as file:
        result = export(Pieces(256), Pictures(), exported, protocol=PROTOCOL, options=options)
        file.write(b"{}")
    assert (result.complete, result.memmap) == (True, None)


def test_places_may_be_text(exported, tmp_path):
    path = write_memmap(str(exported), str(tmp_path / "mapped"))
    assert path == tmp_path / "mapped" / "codes.npy"
    options = ExportOptions(rows_per_shard=5, memmap=str(tmp_path / "mapped"))
    assert export(Pieces(256), Pictures(), str(exported), protocol=PROTOCOL, options=options).memmap == path
    assert verify(str(exported)).ok


def test_a_memory_map_is_whole_or_absent(exported, tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tokbench.files.os.fsync", fail)
    with pytest.raises(TokbenchError, match=r"cannot write to .*mapped/.* \(No space left on device\); make room"):
        write_memmap(exported, tmp_path / "mapped")
    assert not list((tmp_path / "mapped").iterdir())
    monkeypatch.undo()
    path = write_memmap(exported, tmp_path / "mapped")
    (path.parent / "index.json").unlink()  # as if the process had been killed before it came to that
    with pytest.raises(TokbenchError, match="holds no exported tokens"):
        TokenDataset(path.parent)
    whole = path.read_bytes()
    path.write_bytes(b"")
    assert write_memmap(exported, tmp_path / "mapped").read_bytes() == whole


def test_damaged_memory_maps_are_noticed(exported, tmp_path):
    path = write_memmap(exported, tmp_path / "mapped")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(TokbenchError, match=r"codes\.npy is damaged \(.*\); write the memory map again"):
        TokenDataset(path.parent)
    np.save(path, np.zeros((22, 16, 1), np.uint8))
    with pytest.raises(TokbenchError, match=r"codes\.npy is uint8 \(22, 16, 1\), not uint8 \(23, 16, 1\); write it again"):
        TokenDataset(path.parent)
    path.write_bytes(whole)
    (path.parent / "rows.arrow").write_bytes(b"no")
    with pytest.raises(TokbenchError, match=r"rows\.arrow is damaged"):
        TokenDataset(path.parent)
    (path.parent / "index.json").write_text("[]")
    with pytest.raises(TokbenchError, match=r"index\.json was not written by tokbench export"):
        TokenDataset(path.parent)


def test_an_export_that_is_not_whole_is_not_mapped(exported, tmp_path):
    (exported / "tokens-00002-of-00005.parquet").unlink()
    with pytest.raises(TokbenchError, match=r"tokens-00002-of-00005\.parquet is missing; run the export again"):
        write_memmap(exported, tmp_path / "mapped")
    assert not list((tmp_path / "mapped").iterdir())
    table = pq.read_table(exported / "tokens-00001-of-00005.parquet")
    pq.write_table(table.slice(0, 3), exported / "tokens-00002-of-00005.parquet")
    with pytest.raises(TokbenchError, match="has 21 rows, its summary says 23; verify it"):
        write_memmap(exported, tmp_path / "mapped")
    assert not list((tmp_path / "mapped").iterdir())
