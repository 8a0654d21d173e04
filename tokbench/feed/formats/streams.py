"""Sequences one behind the other in one file: for Megatron-LM, for datatrove and nanotron, and flat with a JSON file."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tokbench.feed.formats.plan import Plan, sequences_of
from tokbench.feed.formats.rows import ExportRows

MEGATRON_MAGIC, MEGATRON_VERSION = b"MMIDIDX\x00\x00", 1
MEGATRON_TYPES = {"uint16": 8, "int32": 4}
"""Codes of number types in an index of Megatron-LM."""

MEGATRON_SMALL = 65_500
"""Vocabularies with fewer ids are stored as uint16, as Megatron-LM does it."""

CHUNK = 2**20
"""Entries of an index that are in memory at once."""


def write_megatron(plan: Plan, rows: ExportRows, folder: Path) -> list[str]:
    """Write ``tokens.bin`` and ``tokens.idx``, a document for every row: ``--data-path FOLDER/tokens``.

    Args:
        plan: What to write.
        rows: The export.
        folder: Where to.

    Returns:
        What users should know, one line each.

    Source: ``megatron/core/datasets/indexed_dataset.py``. The number of documents in its header counts the leading 0 of their ends too.
    """
    sequences, lengths = sequences_of(plan, rows), folder / "lengths"
    with (folder / "tokens.bin").open("wb") as tokens, lengths.open("wb") as ends:
        for group in sequences:
            for sequence in group:
                tokens.write(sequence.ids.astype(plan.little).tobytes())
            ends.write(np.array([len(sequence.ids) for sequence in group], "<i4").tobytes())
    count = lengths.stat().st_size // 4
    with (folder / "tokens.idx").open("wb") as index:
        index.write(MEGATRON_MAGIC)
        index.write(struct.pack("<QBQQ", MEGATRON_VERSION, MEGATRON_TYPES[plan.id_type], count, count + 1))
        for chunk in _chunks(lengths):
            index.write(chunk.tobytes())
        start = 0
        for chunk in _chunks(lengths):
            stops = start + np.cumsum(chunk.astype(np.int64) * plan.little.itemsize)
            index.write(np.concatenate([[start], stops[:-1]]).astype("<i8").tobytes())
            start = int(stops[-1])
        for first in range(0, count + 1, CHUNK):
            index.write(np.arange(first, min(first + CHUNK, count + 1), dtype="<i8").tobytes())
    lengths.unlink()
    return [*sequences.notes(), *_without_loss(plan)]


def _chunks(lengths: Path) -> Iterator[np.ndarray]:
    with lengths.open("rb") as file:
        while data := file.read(4 * CHUNK):
            yield np.frombuffer(data, "<i4")


def write_datatrove(plan: Plan, rows: ExportRows, folder: Path) -> list[str]:
    """Write ``tokens.ds`` with the end of every row in ``.index``, a description in ``.metadata`` and, if some ids carry none, ``.loss``.

    Args:
        plan: What to write.
        rows: The export.
        folder: Where to.

    Returns:
        What users should know, one line each.

    Source: ``TokenizedFile`` of datatrove 0.10, which nanotron reads.
    """
    sequences, total = sequences_of(plan, rows), 0
    with ExitStack() as files:
        tokens, index = (files.enter_context((folder / f"tokens.ds{end}").open("wb")) for end in ("", ".index"))
        losses = files.enter_context((folder / "tokens.ds.loss").open("wb")) if plan.options.loss != "all" else None
        for group in sequences:
            for sequence in group:
                tokens.write(sequence.ids.astype(plan.little).tobytes())
                total += len(sequence.ids)
                index.write(struct.pack("<Q", total))
                if losses is not None:
                    losses.write(sequence.loss.tobytes())
    lines = (f"tokbench:{plan.job.tokenizer.name}|{plan.little.itemsize}", str(total), f"{total / 10**6:.2f} MT")
    (folder / "tokens.ds.metadata").write_text("\n".join(lines))
    return sequences.notes()


def write_bin(plan: Plan, rows: ExportRows, folder: Path) -> list[str]:
    """Write ``tokens.bin``, ids alone as nanoGPT maps them, and ``tokens.json``, which says what they are.

    Args:
        plan: What to write.
        rows: The export.
        folder: Where to.

    Returns:
        What users should know, one line each.
    """
    sequences, total, vocabulary = sequences_of(plan, rows), 0, plan.vocabulary
    assert vocabulary is not None
    with (folder / "tokens.bin").open("wb") as tokens:
        for group in sequences:
            for sequence in group:
                tokens.write(sequence.ids.astype(plan.little).tobytes())
                total += len(sequence.ids)
    about = {
        "file": "tokens.bin",
        "token_dtype": plan.id_type,
        "byte_order": "little",
        "num_tokens": total,
        "num_sequences": rows.summary.count,
        "vocab_size": vocabulary.size,
        "grid": plan.job.layout.grid,
        "codebook_sizes": vocabulary.codebook_sizes,
        "code_offsets": vocabulary.offsets,
        "special_ids": asdict(vocabulary.special),
    }
    (folder / "tokens.json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")
    return [*sequences.notes(), *_without_loss(plan)]


def _without_loss(plan: Plan) -> list[str]:
    """Say that a format has no place for a loss mask, where one was asked for."""
    return [f"{plan.format.name} has no place for where the loss falls; it will fall on all ids"] * (plan.options.loss != "all")
