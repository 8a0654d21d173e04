"""Mutated exports and memory maps through the data set, verification and a resumed export."""

from __future__ import annotations

import io
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import tokbench
from tokbench.feed.dataset import TokenDataset
from tokbench.feed.export import ExportOptions, export
from tokbench.feed.formats.write import write_format
from tokbench.feed.memmap import write_memmap
from tokbench.feed.verify import verify as verify_export
from tokbench.records.protocol import get_protocol

PROTOCOL = get_protocol(changes={"size": 16, "micro_batch": 4})


@pytest.fixture(scope="module")
def tokenizer() -> tokbench.Tokenizer:
    return tokbench.load("patch")


@pytest.fixture(scope="module")
def exported(tokenizer: tokbench.Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of two classes with captions, their export and its memory map."""
    root = tmp_path_factory.mktemp("exported")
    for number in range(10):
        folder = root / "pictures" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((20, 20), 50 + number).convert("RGB").save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"picture {number}")
    export(tokenizer, root / "pictures", root / "shards", protocol=PROTOCOL, options=_options())
    write_memmap(root / "shards", root / "mapped")
    return root


def _options() -> ExportOptions:
    return ExportOptions(rows_per_shard=4, labels="folder")


def _mutated_table(path: Path, chance: random.Random, text: Callable) -> tuple[str, bytes]:
    """A shard that is whole Parquet, but not the one it says: other columns, values, types, footers."""
    table = pq.read_table(path)
    kind = chance.choice(["values", "type", "column", "rows", "ids", "footer", "footer", "none", "order"])
    names = table.column_names
    columns: dict[str, Any] = {name: table.column(name) for name in names}
    metadata = dict(table.schema.metadata or {})
    chosen = chance.choice(names)
    if kind == "values":
        values = columns["codes"].to_pylist()
        row = values[chance.randrange(len(values))]
        row[chance.randrange(len(row))] = chance.choice([0, 1, 1023, 65535])
        columns["codes"] = pa.array(values, table.schema.field("codes").type)
    elif kind == "type":
        columns[chosen] = pa.array([chance.choice(["x", "\x1b[31m"])] * len(table))
    elif kind == "column":
        del columns[chosen]
    elif kind == "rows":
        size = chance.choice([0, 1, len(table) - 1])
        columns = {name: column.slice(0, size) for name, column in columns.items()}
    elif kind == "ids":
        columns["id"] = pa.array(chance.choice([["a"] * len(table), [None] * len(table), ["\x1b[2J"] * len(table)]), pa.string())
    elif kind == "none":
        columns[chosen] = pa.nulls(len(table), table.schema.field(chosen).type)
    elif kind == "order":
        columns = {name: column.take(list(range(len(table)))[::-1]) for name, column in columns.items()}
    made = pa.table(columns)
    if kind == "footer" and metadata:
        key = chance.choice(sorted(metadata))
        try:
            metadata[key] = text(metadata[key].decode(), chance)[1]
        except ValueError:
            metadata[key] = chance.choice([b"", b"\xff", b"9" * 5000])
        if chance.random() < 0.2:
            del metadata[key]
    data = io.BytesIO()
    pq.write_table(made.replace_schema_metadata(metadata), data)
    return f"table {kind}", data.getvalue()


def _mutated_npy(data: bytes, chance: random.Random, mutate: Callable) -> tuple[str, bytes]:
    kind = chance.choice(["shape", "type", "objects", "fortran", "bytes", "bytes"])
    if kind == "bytes":
        return mutate(data, chance)
    values = np.load(io.BytesIO(data))
    made = {
        "shape": lambda: values.reshape(-1),
        "type": lambda: values.astype(chance.choice(["f4", "i8", ">u2", "U3"])),
        "objects": lambda: np.array([{}], dtype=object),
        "fortran": lambda: np.asfortranarray(values),
    }[kind]()
    out = io.BytesIO()
    np.save(out, made, allow_pickle=True)
    return f"npy {kind}", out.getvalue()


def _tokens(folder: Path) -> list[Any]:
    return [pq.read_table(path, columns=["codes"]).to_pylist() for path in sorted(folder.glob("*.parquet"))]


@pytest.mark.filterwarnings("ignore")
def test_mutated_exports_are_read_verified_and_resumed(
    trial: Callable, exported: Path, tokenizer: tokbench.Tokenizer, mutate: Callable, mutate_text: Callable
) -> None:
    attack = trial("shards")
    true = _tokens(exported / "shards")
    for number, chance in attack:
        folder = attack.inside / "export"
        shutil.rmtree(folder, ignore_errors=True)
        mapped = chance.random() < 0.4
        shutil.copytree(exported / ("mapped" if mapped else "shards"), folder)
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.endswith(".lock"))
        target = chance.choice(files)
        data = target.read_bytes()
        if target.suffix == ".parquet" and chance.random() < 0.5:
            what, bad = _mutated_table(target, chance, mutate_text)
        elif target.suffix == ".npy":
            what, bad = _mutated_npy(data, chance, mutate)
        elif target.suffix == ".json":
            what, bad = mutate_text(data.decode(), chance)
        else:
            what, bad = mutate(data, chance)
        target.write_bytes(bad)
        name = f"{number} {'mapped' if mapped else 'shards'} {target.name[-24:]} {what[:60]!r}"
        with attack.case(f"{name} read"):
            tokens = TokenDataset(folder)
            for row in range(min(len(tokens), 20)):
                assert set(tokens[row]) >= {"id", "codes"}
            assert tokens.label_names is not None
        with attack.case(f"{name} verify"):
            found = verify_export(folder)
            if found.ok and not mapped and not what.startswith("table"):  # those are whole, and forged
                assert _tokens(folder) == true, "silently different"
        with attack.case(f"{name} command"):
            attack.command("verify", folder)
        for form in ("sequences", "megatron", "rar"):
            shutil.rmtree(attack.inside / "written", ignore_errors=True)
            with attack.case(f"{name} as {form}"):
                write_format(folder, form, attack.inside / "written")
        with attack.case(f"{name} resume"):
            export(tokenizer, exported / "pictures", folder, protocol=PROTOCOL, options=_options())
    attack.finish()


def test_whole_exports_are_read(exported: Path) -> None:
    """An attack on readers that refuse everything would show nothing."""
    for name in ("shards", "mapped"):
        tokens = TokenDataset(exported / name)
        assert len(tokens) == 10
        assert tokens[3]["caption"].startswith("picture")
    assert verify_export(exported / "shards").ok
