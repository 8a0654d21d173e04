"""From a whole export to a folder that a trainer reads: one pass over the shards, whole or not there."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from tokbench.errors import TokbenchError, unknown_name
from tokbench.feed.formats.codes import write_llamagen, write_rar
from tokbench.feed.formats.latents import write_latents
from tokbench.feed.formats.options import FormatOptions
from tokbench.feed.formats.parquet import write_litdata, write_sequences
from tokbench.feed.formats.plan import Format, Plan
from tokbench.feed.formats.record import FormatRecord, check_place, write_record
from tokbench.feed.formats.rows import ExportRows
from tokbench.feed.formats.streams import MEGATRON_SMALL, write_bin, write_datatrove, write_megatron
from tokbench.feed.job import ExportJob
from tokbench.feed.summary import Summary, read_summary
from tokbench.feed.vocabulary_json import vocabulary_to_json
from tokbench.file_units import atomic_folder, remove_abandoned_units
from tokbench.json_files import parse_json

logger = logging.getLogger(__name__)

FORMATS = {
    one.name: one
    for one in (
        Format("sequences", "transformers, trl, datasets", "sequences", write_sequences, ("int32",)),
        Format("megatron", "Megatron-LM, NeMo", "sequences", write_megatron, ("uint16", "int32"), MEGATRON_SMALL),
        Format("datatrove", "datatrove, nanotron", "sequences", write_datatrove, ("uint16", "uint32")),
        Format("bin", "nanoGPT and its relatives", "sequences", write_bin, ("uint16", "uint32")),
        Format("litdata", "litdata", "sequences", write_litdata, ("int32",)),
        Format("llamagen", "LlamaGen", "codes", write_llamagen, squares="images that LlamaGen's reader knows are"),
        Format("rar", "RAR, 1d-tokenizer", "codes", write_rar),
        Format("latents", "LightningDiT", "latents", write_latents),
    )
}
"""All formats by their names."""


def write_format(folder: str | Path, name: str, out: str | Path | None = None, *, options: FormatOptions | None = None) -> Path:
    """Write a whole export as a trainer reads it; memory stays flat.

    Args:
        folder: The export.
        name: One of ``FORMATS``.
        out: Folder to make; None takes the export's with the format behind its name, such as ``tokens-megatron``. One that is there
            already is kept.
        options: How it is done.

    Returns:
        The folder that was made, or is there.

    Raises:
        TokbenchError: If there is no such format, or the export cannot be written in it. If the export is not whole or is damaged, or
            ``out`` holds something else or cannot be written.
        Busy: If another process is writing the same folder.
    """
    folder = Path(folder)
    summary = read_summary(folder)
    place = check_format(folder, name, out, job=summary.job, options=options)
    plan = _plan(summary.job, name, options)
    record, vocabulary = _record(plan, summary)
    if check_place(place, record):
        remove_abandoned_units(Path(os.path.realpath(place)).parent)  # of one that was killed as it tidied up
        return place
    with atomic_folder(place) as draft:
        notes = plan.format.write(plan, ExportRows(folder, summary), draft)
        write_record(draft, record, vocabulary)
    for note in notes:
        logger.warning("%s", note)
    return place


def check_format(
    folder: str | Path, name: str, out: str | Path | None = None, *, job: ExportJob, options: FormatOptions | None = None
) -> Path:
    """Refuse a format that an export cannot be written in, or not there, before it is made.

    Args:
        folder: Folder of the export, which need not exist.
        name: As for ``write_format``.
        out: As for ``write_format``.
        job: What the export is of.
        options: As for ``write_format``.

    Returns:
        Where it will be written.

    Raises:
        TokbenchError: As ``write_format``.
    """
    folder = Path(folder)
    plan = _plan(job, name, options)
    place = default_place(folder, name) if out is None else Path(out)
    here, there = (Path(os.path.realpath(path)) for path in (folder, place))
    if here == there or here in there.parents:
        raise TokbenchError(f"{place} lies in {folder}, whose readers expect Parquet files alone; choose another folder for {name}")
    if os.path.lexists(place) and not place.is_dir():
        raise TokbenchError(f"{place} is a file; choose a folder for {name}")
    check_place(place, _record(plan, None)[0])
    return place


def default_place(folder: Path, name: str) -> Path:
    """Where a format is written unless another folder is given: beside the export, with the format behind its name."""
    whole = folder if folder.name not in ("", "..") else Path(os.path.realpath(folder))
    return whole.with_name(f"{whole.name}-{name}")


def check_places(places: Mapping[str, Path], memmap: Path | None) -> None:
    """Refuse one folder for two things.

    Raises:
        TokbenchError: If two formats, or a format and the memory map, would be written to the same place.
    """
    taken: dict[str, str] = {} if memmap is None else {os.path.realpath(memmap): "the memory map"}
    for name, place in places.items():
        other = taken.setdefault(os.path.realpath(place), name)
        if other != name:
            raise TokbenchError(f"{place} is asked for by {other} and {name}; give each a folder of its own")


def _plan(job: ExportJob, name: str, options: FormatOptions | None) -> Plan:
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    return FORMATS[name].plan(job, options or FormatOptions())


def _record(plan: Plan, summary: Summary | None) -> tuple[FormatRecord, str]:
    """What the folder will say of itself, and its vocabulary as JSON text; without a summary, as far as the job says it."""
    vocabulary = "" if plan.vocabulary is None else vocabulary_to_json(plan.vocabulary)
    values = parse_json(vocabulary) if vocabulary else {}
    rows, digest = (0, "") if summary is None else (summary.count, summary.data_digest)
    return FormatRecord(plan.format.name, plan.settings, plan.job, rows, digest, values), vocabulary
