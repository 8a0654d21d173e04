"""An export as one array on disk, which numpy maps into memory, with ids and labels beside it: for random access at any scale.

``codes.npy`` (or ``latents.npy``) is ``[N, L, K]``, in the order of the ids, and ``rows.arrow`` holds the other columns. ``index.json``
says what they are. It is written last, so without it the folder is not whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokbench.arrays import open_array
from tokbench.configs import differences, plain
from tokbench.errors import TokbenchError
from tokbench.feed.formats.record import holds_format
from tokbench.feed.job import ExportJob
from tokbench.feed.shards import read_columns, shard_schema, token_values
from tokbench.feed.summary import MOST_BYTES, SUMMARY, Summary, read_summary, summary_from_dict
from tokbench.files import atomic_file, make_folder
from tokbench.json_files import read_json

INDEX, ROWS = "index.json", "rows.arrow"
"""Names of the files beside the array."""


def holds_memmap(folder: Path) -> bool:
    """Whether a folder holds a memory map, whole or begun."""
    return (folder / INDEX).is_file() or (folder / ROWS).is_file()


def holds_export(folder: Path) -> bool:
    """Whether a folder holds an export, whole or begun, or other Parquet files."""
    return (folder / SUMMARY).is_file() or next(folder.glob("*.parquet"), None) is not None


def check_memmap(folder: Path, out: Path, job: ExportJob) -> None:
    """Refuse a folder that cannot take the memory map of an export, which need not exist yet. Nothing is written.

    Args:
        folder: Folder of the export.
        out: Folder of the memory map.
        job: What the export is of.

    Raises:
        TokbenchError: If ``out`` is no folder, is inside ``folder``, or holds an export or the memory map of another one.
    """
    if out.resolve() == folder.resolve() or folder.resolve() in out.resolve().parents:
        raise TokbenchError(f"{out} lies in {folder}, whose readers expect Parquet files alone; choose another folder")
    if out.exists() and not out.is_dir():
        raise TokbenchError(f"{out} is a file; choose a folder for the memory map")
    if holds_export(out):
        raise TokbenchError(f"{out} holds an export, whose readers expect Parquet files alone; choose another folder for the memory map")
    if holds_format(out):
        raise TokbenchError(f"{out} holds an export as trainers read it; choose another folder for the memory map")
    if (out / INDEX).is_file() and (different := differences(read_index(out).job, job)):
        raise TokbenchError(f"{out} holds tokens of another export: {different}; choose another folder for the memory map")


def write_memmap(folder: str | Path, out: str | Path, *, progress: Callable[[int, int], None] = lambda done, total: None) -> Path:
    """Copy an export's shards into one array; memory stays flat.

    Args:
        folder: A whole export.
        out: Another folder; made if missing.
        progress: Called after every shard with rows done and in all.

    Returns:
        The array's path.

    Raises:
        TokbenchError: If the export is not whole or is damaged, or ``out`` is inside it, holds an export or the memory map of
            another one, or cannot be written.
        Busy: If another process is writing the same memory map.
    """
    folder, out = Path(folder), Path(out)
    summary = read_summary(folder)
    job = summary.job
    check_memmap(folder, out, job)
    make_folder(out)
    path = out / f"{job.column}.npy"
    if (out / INDEX).is_file() and read_index(out) == summary and path.is_file() and (out / ROWS).is_file():
        return path
    others = [field for field in shard_schema(job) if field.name != job.column]
    little = np.dtype(job.dtype).newbyteorder("<")
    done = 0
    with atomic_file(path) as array, atomic_file(out / ROWS) as rows, pa.ipc.new_file(rows, pa.schema(others)) as writer:
        np.lib.format.write_array_header_1_0(array, {"descr": little.str, "fortran_order": False, "shape": _shape(summary)})
        for number in range(job.shards):
            for table in read_columns(folder / job.shard_name(number)):
                array.write(np.ascontiguousarray(token_values(table, job), little).data)
                writer.write_table(table.drop_columns([job.column]).combine_chunks())
                done += len(table)
            progress(done, summary.count)
        if done != summary.count:
            raise TokbenchError(f"{folder} has {done} rows, its summary says {summary.count}; verify it to see what is wrong")
    with atomic_file(out / INDEX) as file:
        index = {"file": path.name, "rows": ROWS, "shape": _shape(summary), "dtype": job.dtype, "summary": summary}
        file.write((json.dumps(plain(index), indent=1, sort_keys=True, allow_nan=False) + "\n").encode())
    return path


def _shape(summary: Summary) -> tuple[int, int, int]:
    return summary.count, summary.job.layout.positions, summary.job.width


def read_index(folder: Path) -> Summary:
    """Read what a memory map is of.

    Raises:
        TokbenchError: If it is damaged or not whole.
    """
    path = folder / INDEX
    try:
        values = read_json(path, most=MOST_BYTES)
    except (OSError, ValueError) as error:
        raise TokbenchError(f"{folder} holds no whole memory map ({error}); write it again") from error
    return summary_from_dict(values.get("summary") if isinstance(values, dict) else None, origin=str(path))


def open_values(folder: Path, summary: Summary) -> np.ndarray:
    """Map the array, ``[N, L, K]``.

    Raises:
        TokbenchError: If it is not the one the index describes.
    """
    path = folder / f"{summary.job.column}.npy"
    try:
        values = open_array(path)
    except (OSError, ValueError) as error:
        raise TokbenchError(f"{path} is damaged ({error}); write the memory map again") from error
    if values.shape != _shape(summary) or values.dtype != summary.job.dtype:
        raise TokbenchError(f"{path} is {values.dtype} {values.shape}, not {summary.job.dtype} {_shape(summary)}; write it again")
    return values


def open_rows(folder: Path) -> pa.Table:
    """Map the other columns.

    Raises:
        TokbenchError: If they are damaged.
    """
    try:
        rows = pa.ipc.open_file(pa.memory_map(str(folder / ROWS))).read_all()
        rows.validate(full=True)  # a pass over the file: without it, a damaged offset reads memory of the process, or ends it
        return rows
    except (OSError, pa.ArrowException) as error:
        raise TokbenchError(f"{folder / ROWS} is damaged ({error}); write the memory map again") from error
