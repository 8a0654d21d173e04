"""Exports, memory maps, vocabularies and probes whose JSON or rows strangers changed: each is met in one line, none is waited for."""

import copy
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tokbench
from tokbench.errors import TokbenchError
from tokbench.feed.dataset import TokenDataset
from tokbench.feed.export import export
from tokbench.feed.job import TokenizerIdentity
from tokbench.feed.memmap import INDEX, ROWS, open_rows, write_memmap
from tokbench.feed.probe.saved import read_probe_form
from tokbench.feed.shards import read_facts
from tokbench.feed.summary import SUMMARY
from tokbench.feed.text import ByteText
from tokbench.feed.vocabulary import Vocabulary
from tokbench.feed.vocabulary_json import vocabulary_from_json, vocabulary_to_json
from tokbench.json_files import DEEPEST, read_json
from tokbench.layout import TokenLayout

VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    2**63 - 1,
    10**19 - 1,
    0.5,
    "",
    "inf",
    "\x1b[31m\u202e",
    "x" * 5000,
    [],
    {},
    [[]],
    [None],
    {"a": 1},
]
LAYOUT = TokenLayout(image_size=(64, 64), grid=(16, 16), codebook_sizes=(1024,))
TEXTS = (b"", b"{", b"[" * 100_000, b'{"schema": ' + b"9" * 5000 + b"}", b'{"schema": 1e999}', b"\xff\xfe{}", b"null", b"NaN")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """An export of twelve crops, and a memory map of it beside."""
    folder = tmp_path_factory.mktemp("whole")
    export(tokbench.load("patch"), "photos", folder / "export", protocol=tokbench.get_protocol(changes={"samples": 12}))
    write_memmap(folder / "export", folder / "map")
    return folder


def mutated(values: Any, rng: random.Random) -> bytes:
    """JSON with one value replaced or removed, or one of ``TEXTS``."""
    if rng.random() < 0.1:
        return rng.choice(TEXTS)
    values = copy.deepcopy(values)
    holder, key = values, rng.choice(list(values))
    while isinstance(holder[key], dict | list) and holder[key] and rng.random() < 0.8:
        holder = holder[key]
        key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    if rng.random() < 0.25:
        del holder[key]
    else:
        holder[key] = copy.deepcopy(rng.choice(VALUES))
    return json.dumps(values).encode()


def in_words(action: Any) -> bool:
    """Whether an action was refused, which must be in one short line without control characters."""
    said = ""
    try:
        action()
    except TokbenchError as error:
        said = str(error)
    assert said.isprintable()
    assert len(said) < 1000
    return bool(said)


def every_row(folder: Path) -> None:
    rows = TokenDataset(folder)
    for i in range(len(rows)):
        rows[i]


@pytest.mark.parametrize("name", [f"export/{SUMMARY}", f"map/{INDEX}"])
def test_changed_summaries_are_refused_in_words(whole, tmp_path, name):
    folder, path = tmp_path / "copy", tmp_path / "copy" / Path(name).name
    shutil.copytree(whole / Path(name).parent, folder)
    values = json.loads(path.read_text())
    refused = 0
    for number in range(60):
        path.write_bytes(mutated(values, random.Random(number)))
        refused += in_words(lambda: every_row(folder))
    assert refused >= 15


def test_changed_footers_are_refused_in_words(whole, tmp_path):
    (shard,) = (whole / "export").glob("*.parquet")
    table = pq.read_table(shard)
    ((key, about),) = table.schema.metadata.items()
    refused = 0
    for number in range(40):
        pq.write_table(table.replace_schema_metadata({key: mutated(json.loads(about), random.Random(number))}), tmp_path / shard.name)
        refused += in_words(lambda: read_facts(tmp_path / shard.name))
    assert refused > 20


def test_changed_columns_of_a_shard_are_refused_in_words(whole, tmp_path):
    shutil.copytree(whole / "export", tmp_path / "export")
    (shard,) = (tmp_path / "export").glob("*.parquet")
    table = pq.read_table(shard)
    place = {name: table.column_names.index(name) for name in ("id", "codes")}
    codes = table.column("codes").type
    changes = {
        "no ids": table.drop_columns(["id"]),
        "ids of nothing": table.set_column(place["id"], table.schema.field("id"), pa.nulls(12, pa.string())),
        "ids of numbers": table.set_column(place["id"], "id", pa.array(range(12))),
        "no codes": table.drop_columns(["codes"]),
        "codes of nothing": table.set_column(place["codes"], table.schema.field("codes"), pa.nulls(12, codes)),
        "codes out of range": table.set_column(
            place["codes"], table.schema.field("codes"), pa.array([[65535] * codes.list_size] * 12, codes)
        ),
        "fewer rows": table.slice(0, 5),
    }
    for name, changed in changes.items():
        pq.write_table(changed, shard)
        assert in_words(lambda: every_row(tmp_path / "export")), name


def test_changed_vocabularies_are_refused_in_words():
    values = json.loads(vocabulary_to_json(Vocabulary.over(ByteText(), LAYOUT, TokenizerIdentity("a/b", {}, None))))
    refused = sum(
        in_words(lambda n=number: vocabulary_from_json(mutated(values, random.Random(n)).decode("utf-8", "replace")))
        for number in range(80)
    )
    assert refused > 40


@pytest.mark.parametrize("grid", ["9" * 5000, "[" + "9, " * 5000 + "9]", '["4", 4]', "[4, true]", "null", "[-1]", "[1, 2, 3]"])
def test_changed_forms_of_probes_are_refused_in_words(tmp_path, grid):
    (tmp_path / "probe.json").write_text(f'{{"grid": {grid}, "image_size": [64, 64], "condition": "none"}}')
    assert in_words(lambda: read_probe_form(tmp_path))


def test_json_is_read_within_bounds(tmp_path):
    path = tmp_path / "a.json"
    for depth, allowed in ((DEEPEST, True), (DEEPEST + 1, False), (100_000, False)):
        path.write_text("[" * depth + "]" * depth)
        if allowed:
            read_json(path)
        else:
            with pytest.raises(ValueError, match="within each other"):
                read_json(path)
    for text, words in (("9" * 5000, "5,000 digits"), ("1e999", "more than a float"), (" " * 2000, "MiB")):
        path.write_text(text)
        with pytest.raises(ValueError, match=words):
            read_json(path, most=1000 if text.isspace() else 10_000)
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(path) == {"a": 1}
    with pytest.raises(ValueError, match="a folder"):
        read_json(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.json")
        with pytest.raises(ValueError, match="a pipe"):
            read_json(tmp_path / "pipe.json")


@pytest.mark.parametrize("value", [-1, 2**31 - 1, 10**6, 2, 0])
def test_offsets_of_rows_that_lead_out_of_the_file_are_not_followed(tmp_path, value):
    ids = pa.array([f"image {number}" for number in range(100)])
    with pa.OSFile(str(tmp_path / ROWS), "wb") as file, pa.ipc.new_file(file, pa.schema([("id", pa.string())])) as writer:
        writer.write_table(pa.table({"id": ids}))
    data = (tmp_path / ROWS).read_bytes()
    offsets = ids.buffers()[1].to_pybytes()[: 4 * 101]
    assert open_rows(tmp_path).column("id").to_pylist() == ids.to_pylist()
    start = data.index(offsets)
    for place in (start + 4 * 50, start + 4 * 100):
        (tmp_path / ROWS).write_bytes(data[:place] + value.to_bytes(4, "little", signed=True) + data[place + 4 :])
        with pytest.raises(TokbenchError, match="is damaged"):
            open_rows(tmp_path)
