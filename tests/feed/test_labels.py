"""Labels and captions of stored images in the shards of an export, and in what is read from them."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tokbench.data.open import open_source
from tokbench.errors import TokbenchError
from tokbench.feed.dataset import TokenDataset
from tokbench.feed.export import ExportOptions, export
from tokbench.feed.label_rules import Annotations
from tokbench.feed.summary import read_summary
from tokbench.layout import TokenLayout
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import DiscreteTokens

PROTOCOL = get_protocol(changes={"size": 8, "micro_batch": 4})
ROWS = ExportOptions(rows_per_shard=3)


@dataclass(frozen=True)
class GreyConfig:
    """Nothing to set."""


class Grey(Tokenizer):
    """The mean of an image as its one code."""

    def __init__(self):
        super().__init__()
        self.config, self.name = GreyConfig(), "tests/grey"

    def layout(self, height, width):
        return TokenLayout((height, width), (1,), (256,))

    def _encode(self, images, seeds):
        codes = ((images.mean((1, 2, 3)) + 1) * 127.5).round().to(torch.int64)
        return DiscreteTokens(codes[:, None, None].contiguous(), (1,), (256,))

    def _decode(self, tokens, seeds):
        raise NotImplementedError


def picture(level):
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), level, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def pack(path, files):
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def shard(tmp_path):
    """Eight samples; one image cannot be read, one has neither class nor caption."""
    files = {}
    for number in range(8):
        files[f"{number}.png"] = b"broken" if number == 2 else picture(10 * number)
        if number != 5:
            files |= {f"{number}.cls": f"{number % 3}\n".encode(), f"{number}.txt": f"grey {number}, größer".encode()}
    return pack(tmp_path / "set.tar", files)


def exported(folder):
    return pq.read_table(sorted(folder.glob("*.parquet"))).select(["id", "label", "caption", "codes"]).to_pylist()


def test_rows_carry_the_class_and_the_text_of_their_own_image(shard, tmp_path):
    result = export(Grey(), shard, tmp_path / "out", protocol=PROTOCOL, options=ROWS)
    assert [image.id for image in result.skipped] == ["set/2"]
    expected = [
        {"id": f"set/{n}", "label": None if n == 5 else n % 3, "caption": None if n == 5 else f"grey {n}, größer", "codes": [10 * n]}
        for n in range(8)
        if n != 2
    ]
    assert exported(tmp_path / "out") == expected
    tokens = TokenDataset(tmp_path / "out")
    assert [tokens[row]["label"] for row in range(7)] == [-1 if row["label"] is None else row["label"] for row in expected]
    assert [tokens[row]["caption"] for row in range(7)] == [row["caption"] or "" for row in expected]


def test_labels_of_the_source_can_be_left_out(shard, tmp_path):
    export(Grey(), shard, tmp_path / "out", protocol=PROTOCOL, options=replace(ROWS, labels="none"))
    assert pq.read_table(sorted((tmp_path / "out").glob("*.parquet"))).column_names == ["id", "caption", "codes", "source_sha256"]


def test_a_bad_class_stops_the_export_with_one_line_that_names_it(tmp_path):
    files = {f"{number}.png": picture(number) for number in range(8)} | {f"{number}.cls": b"1" for number in range(7)} | {"7.cls": b"cat"}
    source = pack(tmp_path / "set.tar", files)
    with pytest.raises(TokbenchError, match=r"^the label of set/7 of set\.tar is 'cat', not a whole number .* with --labels none$"):
        export(Grey(), source, tmp_path / "out", protocol=PROTOCOL, options=ROWS)
    assert {path.suffix for path in (tmp_path / "out").iterdir()} <= {".parquet"}
    pack(source, files | {"7.cls": b"0"})
    result = export(Grey(), source, tmp_path / "out", protocol=PROTOCOL, options=ROWS)
    assert (result.complete, [row["label"] for row in exported_labels(tmp_path / "out")]) == (True, [1] * 7 + [0])


def exported_labels(folder):
    return pq.read_table(sorted(folder.glob("*.parquet"))).select(["label"]).to_pylist()


def test_texts_of_a_table_become_numbers_with_names(tmp_path):
    columns = {"image": [picture(number) for number in range(4)], "label": ["dog", "cat", None, "dog"]}
    pq.write_table(pa.table(columns), tmp_path / "set.parquet")
    export(Grey(), tmp_path / "set.parquet", tmp_path / "out", protocol=PROTOCOL)
    assert [row["label"] for row in exported_labels(tmp_path / "out")] == [1, 0, None, 1]
    assert read_summary(tmp_path / "out").job.label_names == ("cat", "dog")


def test_a_source_without_labels_gives_none(tmp_path):
    (tmp_path / "set" / "cats").mkdir(parents=True)
    (tmp_path / "set" / "cats" / "a.png").write_bytes(picture(1))
    source = open_source(str(tmp_path / "set"), size=8)
    for rule in ("source", "none"):
        annotations = Annotations(source, rule)
        assert (annotations.has_labels, annotations.has_captions, annotations.names) == (False, False, ())
        assert (annotations.label(0), annotations.caption(0)) == (None, None)
    by_folder = Annotations(source, "folder")
    assert (by_folder.has_labels, by_folder.names, by_folder.label(0)) == (True, ("cats",), 0)
    export(Grey(), source, tmp_path / "out", protocol=PROTOCOL)
    assert pq.read_table(sorted((tmp_path / "out").glob("*.parquet"))).column_names == ["id", "codes", "source_sha256"]
