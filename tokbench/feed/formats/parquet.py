"""Sequences as Parquet rows of ``input_ids`` and ``labels``, which datasets, transformers and trl read; and an index for litdata."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tokbench.configs import canonical_json
from tokbench.feed.formats.plan import Plan, sequences_of
from tokbench.feed.formats.rows import ExportRows
from tokbench.feed.formats.sequences import RowSequence
from tokbench.feed.loss import IGNORED

INDEX = "index.json"
"""Where litdata looks for the files of a folder and their rows."""


def write_sequences(plan: Plan, rows: ExportRows, folder: Path) -> list[str]:
    """Write a Parquet file for every shard with rows.

    Args:
        plan: What to write.
        rows: The export.
        folder: Where to.

    Returns:
        What users should know, one line each.

    Source: columns as ``SFTTrainer`` of trl and ``DataCollatorForSeq2Seq`` of transformers take them. Labels are not shifted.
    """
    sequences, kind = sequences_of(plan, rows), pa.list_(pa.from_numpy_dtype(plan.id_type))
    schema = pa.schema([pa.field("input_ids", kind), pa.field("labels", kind)])
    for number, count in enumerate(rows.summary.rows):
        if not count:
            continue
        path = folder / plan.job.shard_name(number).replace("tokens-", "sequences-")
        with path.open("wb") as file, pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
            for group in sequences.shard(number):
                writer.write_table(_table(group, schema, plan.id_type))
    return sequences.notes()


def write_litdata(plan: Plan, rows: ExportRows, folder: Path) -> list[str]:
    """Write the same files, and the index with which litdata's ``StreamingDataset`` and ``ParquetLoader`` read them.

    Args:
        plan: What to write.
        rows: The export.
        folder: Where to.

    Returns:
        What users should know, one line each.

    Source: ``index_parquet_dataset`` of litdata 0.2. Its index is dated; this one has a digest there, so that equal folders are equal.
    """
    notes = write_sequences(plan, rows, folder)
    index = _index(sorted(folder.glob("*.parquet")))
    updated = hashlib.sha256(canonical_json([index, rows.summary.data_digest, plan.settings]).encode()).hexdigest()
    (folder / INDEX).write_text(canonical_json({**index, "updated_at": updated[:32]}))
    return notes


def _table(group: list[RowSequence], schema: pa.Schema, id_type: str) -> pa.Table:
    ids = np.concatenate([sequence.ids for sequence in group])
    loss = np.concatenate([sequence.loss for sequence in group])
    ends = np.cumsum([0, *(len(sequence.ids) for sequence in group)]).astype(np.int32)
    columns = (ids, np.where(loss, ids, IGNORED))
    return pa.Table.from_arrays([pa.ListArray.from_arrays(ends, pa.array(values.astype(id_type))) for values in columns], schema=schema)


def _index(paths: list[Path]) -> dict[str, Any]:
    chunks, types = [], list[str]()
    for path in paths:
        with pq.ParquetFile(path) as file:
            types = [str(column.type) for column in file.schema_arrow]
            size = {"chunk_bytes": path.stat().st_size, "chunk_size": file.metadata.num_rows}
        chunks.append({**size, "filename": path.name, "dim": None})
    absent = dict.fromkeys(("compression", "chunk_size", "chunk_bytes", "data_spec", "types", "encryption"))
    return {"chunks": chunks, "config": {**absent, "data_format": types, "item_loader": "ParquetLoader"}}
