"""Chunks on disk: what metrics keep as safetensors, images and facts as Parquet; whole or not there, and nothing in them is run.

    000007.safetensors   the states
    000007.parquet       a row an image; its metadata hold the facts, and the digest of the other file

The second is written last. Without it, or with another digest in it, there is no chunk.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
from safetensors import SafetensorError

from tokbench.bench.chunks import Chunk, ChunkFacts, ImageRow
from tokbench.configs import build, canonical_json
from tokbench.errors import TokbenchError
from tokbench.files import atomic_file, write_bytes
from tokbench.json_files import parse_json

KEY, CHECK = b"tokbench", b"tokbench.sha256"
"""Where the metadata of the rows hold the facts, as JSON, and the digest of that: Parquet has checksums of its pages alone."""

MOST_ROWS = 65_536
"""Images of a chunk at most: sixteen micro-batches of the largest size."""

TEXT = pa.binary()
"""Ids are bytes: names of files need be no text."""

SCHEMA = pa.schema(
    [
        pa.field("id", TEXT, nullable=False),
        pa.field("group", TEXT, nullable=False),
        pa.field("source", pa.binary()),
        pa.field("pixels", pa.binary()),
        pa.field("skipped", TEXT),
        pa.field("coded", pa.int64()),
        pa.field("original", TEXT),
        pa.field("reconstruction", TEXT),
    ]
)


def chunk_paths(folder: Path, number: int) -> tuple[Path, Path]:
    """Where the states and the rows of a chunk lie."""
    return folder / f"{number:06d}.safetensors", folder / f"{number:06d}.parquet"


def write_chunk(folder: Path, chunk: Chunk) -> None:
    """Write a chunk, over one of its number that is there.

    Raises:
        TokbenchError: If it cannot be written; the chunk is not there then.
    """
    states, rows = chunk_paths(folder, chunk.facts.number)
    data = safetensors.torch.save(dict(chunk.states))
    about = canonical_json({"chunk": chunk.facts, "states_sha256": hashlib.sha256(data).hexdigest()}).encode()
    table = _table(chunk.rows).replace_schema_metadata({KEY: about, CHECK: _digest(about)})
    write_bytes(states, data)
    with atomic_file(rows) as file:
        pq.write_table(table, file, compression="zstd", write_page_checksum=True)


def read_rows(folder: Path, number: int) -> tuple[ChunkFacts, tuple[ImageRow, ...], str]:
    """Read what is known of a chunk, and its images.

    Returns:
        Facts, images, and SHA-256 of the file of states.

    Raises:
        FileNotFoundError: If there is no such chunk.
        TokbenchError: If it is damaged.
    """
    _, path = chunk_paths(folder, number)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            metadata = file.schema_arrow.metadata or {}
            data = metadata.get(KEY, b"null")
            if metadata.get(CHECK) != _digest(data):
                raise ValueError("what it says of itself has another digest")
            about: Any = parse_json(data)
            if not file.schema_arrow.equals(SCHEMA):
                raise ValueError("its columns are others")
            if file.metadata.num_rows > MOST_ROWS:
                raise ValueError(f"it has {file.metadata.num_rows:,} rows, more than a chunk has")
            table = file.read(use_threads=False)
        facts = build(ChunkFacts, about["chunk"], "chunk")
        digest = build(str, about["states_sha256"], "states_sha256")
        if facts.number != number:
            raise ValueError(f"it is chunk {facts.number}")
        return facts, tuple(_row(values) for values in table.to_pylist()), digest
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, LookupError) as error:
        raise damaged(path, error) from error


def read_chunk(folder: Path, number: int) -> Chunk:
    """Read a chunk.

    Raises:
        FileNotFoundError: If there is no such chunk.
        TokbenchError: If it is damaged.
    """
    facts, rows, digest = read_rows(folder, number)
    path, _ = chunk_paths(folder, number)
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise ValueError("its digest is another one")
        return Chunk(facts, rows, safetensors.torch.load(data))
    except FileNotFoundError:
        raise
    except (OSError, SafetensorError, ValueError) as error:
        raise damaged(path, error) from error


def is_whole(folder: Path, number: int, digest: str) -> bool:
    """Whether the states of a chunk are those its rows speak of."""
    path, _ = chunk_paths(folder, number)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
    except OSError:
        return False


def damaged(path: Path, error: Exception) -> TokbenchError:
    """Build the error for a chunk that cannot be read, to be raised by the caller."""
    why = " ".join(str(error).split()) or type(error).__name__
    return TokbenchError(f"{path} is damaged ({why[:200]}); delete it and run the same command again with --resume")


def _table(rows: tuple[ImageRow, ...]) -> pa.Table:
    columns = {
        "id": [_bytes(row.id) for row in rows],
        "group": [_bytes(row.group) for row in rows],
        "source": [row.source for row in rows],
        "pixels": [row.pixels for row in rows],
        "skipped": [_bytes(row.skipped) for row in rows],
        "coded": [row.coded for row in rows],
        "original": [None if row.saved is None else row.saved[0].encode() for row in rows],
        "reconstruction": [None if row.saved is None else row.saved[1].encode() for row in rows],
    }
    return pa.Table.from_arrays([pa.array(columns[field.name], field.type) for field in SCHEMA], schema=SCHEMA)


def _row(values: dict[str, Any]) -> ImageRow:
    if values["id"] is None or values["group"] is None:
        raise ValueError("an image has no id or group")
    original, made = values["original"], values["reconstruction"]
    return ImageRow(
        id=_text(values["id"]),
        group=_text(values["group"]),
        source=values["source"],
        pixels=values["pixels"],
        skipped=None if values["skipped"] is None else _text(values["skipped"]),
        coded=values["coded"],
        saved=None if original is None or made is None else (_text(original), _text(made)),
    )


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "surrogateescape")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
